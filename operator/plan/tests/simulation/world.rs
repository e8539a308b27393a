//! A small Kubernetes with small disks and a small Raft, which checks the invariants at every write.

use std::collections::{BTreeMap, BTreeSet};

use zke_plan::{
    Budget, Claim, ClaimRetention, Desired, Disk, DiskState, EnsembleId, JobState, Leader, Member, MemberId,
    Observed, Operation, Reason, Step,
};

use crate::mutant::Mutant;
use crate::pods::{Pod, Template};
use crate::random::Random;

#[derive(Debug)]
pub struct World {
    pub desired: Desired,
    /// What the spec makes of pods.
    pub template: Template,
    pub(crate) status: Status,
    pub(crate) stateful_set: Option<StatefulSet>,
    pub(crate) volumes: BTreeMap<u32, Volume>,
    pub(crate) ensembles: BTreeMap<EnsembleId, Ensemble>,
    budget: Budget,
    /// What drains go by: its controller takes note of a new value a little later.
    pub(crate) enforced_budget: Option<u32>,
    late: Vec<Request>,
    /// Whether the archive to be restored is whole.
    archive_is_good: bool,
    archive_check: JobState,
    /// The disk that a Job is to restore, and how far it has come.
    restore: Option<(MemberId, EnsembleId, JobState)>,
    pub(crate) faults: bool,
    /// Volumes vanish in some runs only: each loss may need somebody.
    volumes_vanish: bool,
    volume_lost: bool,
    /// The next leader that retires members stops before it removes them.
    pub leader_stops_half_way: bool,
    /// The rule of the plan that is broken in this run.
    pub mutant: Option<Mutant>,
    /// Changes whenever a pod or process ends for another reason than the operator's: what was seen before may be over.
    pub(crate) endings: u64,
    /// The healthy member that the operator took down last, until it is back.
    pub(crate) out_by_us: Option<u32>,
    pub(crate) minted: u64,
    version: u64,
    pub(crate) random: Random,
    history: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    version: u64,
    ensemble_id: Option<EnsembleId>,
    initialized: bool,
    pub(crate) replicas: Option<u32>,
    config_index: u64,
    pub operation: Option<Operation>,
    /// The template that failed, and the good one that stands in for it.
    pub(crate) put_back: Option<(Template, Template)>,
}

/// A step on its way, with what its sender had seen.
#[derive(Clone, Debug)]
pub struct Request {
    pub step: Step,
    pub seen: Seen,
}

#[derive(Clone, Copy, Debug)]
pub struct Seen {
    stateful_set_version: u64,
    pub(crate) endings: u64,
}

#[derive(Debug)]
pub(crate) struct StatefulSet {
    pub replicas: u32,
    pub version: u64,
    pub template: Template,
    /// Its controller has taken note of the template.
    pub noticed: bool,
}

#[derive(Debug)]
pub(crate) struct Volume {
    pub claim: Claim,
    pub disk: Disk,
    /// Retired, and told to begin anew when its process starts next.
    renewing: bool,
    pub pod: Option<Pod>,
}

#[derive(Debug)]
pub(crate) struct Ensemble {
    config_index: u64,
    term: u64,
    pub leader: Option<MemberId>,
    pub serving: bool,
    pub members: BTreeMap<MemberId, u32>,
    pub voter_sets: Vec<BTreeSet<MemberId>>,
    synced: BTreeSet<MemberId>,
    retired: BTreeSet<MemberId>,
    pub commit_index: u64,
    pub matched: BTreeMap<MemberId, u64>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let when_scaled = if random.one_in(4) { ClaimRetention::Retain } else { ClaimRetention::Delete };
        Self {
            desired: Desired {
                replicas: 3,
                suspend: false,
                budget: true,
                restore: seed % 5 == 1,
                when_scaled,
            },
            template: Template(0),
            status: Status::default(),
            stateful_set: None,
            volumes: BTreeMap::new(),
            ensembles: BTreeMap::new(),
            budget: Budget::default(),
            enforced_budget: None,
            late: Vec::new(),
            archive_is_good: seed % 10 == 1,
            archive_check: JobState::Absent,
            restore: None,
            faults: true,
            volumes_vanish: random.one_in(8),
            volume_lost: false,
            leader_stops_half_way: false,
            mutant: None,
            endings: 0,
            out_by_us: None,
            minted: 0,
            version: 0,
            random,
            history: Vec::new(),
        }
    }

    pub fn stop_faults(&mut self) {
        self.faults = false;
        self.late.clear();
    }

    pub fn is_faulty(&self) -> bool {
        self.faults
    }

    pub fn history(&self) -> &[String] {
        &self.history
    }

    pub fn status(&self) -> Status {
        self.status.clone()
    }

    pub fn claims(&self) -> impl Iterator<Item = u32> {
        self.volumes.keys().copied()
    }

    /// The ensemble object goes and comes back; volumes are kept, everything else is new.
    pub fn delete_and_create(&mut self) {
        self.note("deleted and created again");
        self.stateful_set = None;
        (self.budget, self.enforced_budget) = (Budget::default(), None);
        self.late.clear();
        // Its Jobs go with it: an operator waits for the end of what its predecessor owned.
        (self.archive_check, self.restore) = (JobState::Absent, None);
        let version = self.next_version();
        self.status = Status { version, ..Status::default() };
        for volume in self.volumes.values_mut() {
            volume.pod = None;
        }
        self.out_by_us = None;
    }

    // ------ what happens by itself

    pub fn maybe_tick(&mut self) {
        if self.faults && self.random.one_in(3) {
            self.tick();
        }
    }

    pub fn tick(&mut self) {
        self.run_jobs();
        self.run_volumes();
        self.run_pods();
        if self.faults {
            self.hurt();
        }
        self.run_ensembles();
        self.notice_return();
        if self.faults && self.random.one_in(4) {
            self.drain();
        }
        if !self.faults || self.random.one_in(2) {
            self.budget.in_force = true;
        }
        if self.budget.in_force {
            self.enforced_budget = self.budget.min_available;
        }
    }

    /// The Job that restores calls the disk itself, which compares what it is told.
    fn run_jobs(&mut self) {
        if self.faults && !self.random.one_in(3) {
            return;
        }
        if self.archive_check == JobState::Running {
            self.archive_check = if self.archive_is_good { JobState::Succeeded } else { JobState::Failed };
        }
        let Some((member_id, ensemble_id, JobState::Running)) = self.restore else { return };
        if self.blank_disk(0, member_id).is_some() {
            self.bootstrap(0, member_id, ensemble_id);
            self.restore = Some((member_id, ensemble_id, JobState::Succeeded));
        }
    }

    fn run_volumes(&mut self) {
        let replicas = self.stateful_set.as_ref().map_or(0, |set| set.replicas);
        for ordinal in 0..replicas {
            if !self.volumes.contains_key(&ordinal) {
                let volume = self.blank_volume(ordinal);
                self.volumes.insert(ordinal, volume);
            }
        }
        let faults = self.faults;
        for volume in self.volumes.values_mut() {
            if volume.renewing && (!faults || self.random.one_in(2)) {
                // Its process stops here and starts later. Until then it answers as before.
                self.minted += 1;
                volume.disk =
                    Disk { state: DiskState::Blank, ensemble_id: None, member_id: MemberId(self.minted) };
                volume.renewing = false;
                volume.pod.iter_mut().for_each(Pod::end_process);
            }
        }
    }

    fn blank_volume(&mut self, ordinal: u32) -> Volume {
        self.minted += 1;
        let member_id = MemberId(self.minted);
        Volume {
            claim: Claim { uid: format!("{ordinal}-{}", self.minted), ensemble_id: None, initialized: false },
            disk: Disk { state: DiskState::Blank, ensemble_id: None, member_id },
            renewing: false,
            pod: None,
        }
    }

    fn hurt(&mut self) {
        let ordinals: Vec<_> = self.volumes.keys().copied().collect();
        for ordinal in ordinals {
            if self.random.one_in(25) {
                self.end_pod(ordinal);
            }
            if self.volumes_vanish && self.random.one_in(600) {
                self.note(&format!("volume {ordinal} lost"));
                self.volume_lost = true;
                self.endings += 1;
                let replacement = self.blank_volume(ordinal);
                self.volumes.insert(ordinal, replacement);
            }
        }
        if !self.late.is_empty() && self.random.one_in(3) {
            let which = self.random.below(self.late.len());
            let request = self.late.remove(which);
            self.act(request);
        }
    }

    fn run_ensembles(&mut self) {
        let up: BTreeMap<MemberId, u32> = self
            .volumes
            .iter()
            .filter(|(_, volume)| volume.works())
            .map(|(ordinal, volume)| (volume.disk.member_id, *ordinal))
            .collect();
        for (id, ensemble) in &mut self.ensembles {
            let alive = |set: &BTreeSet<MemberId>| {
                set.iter().filter(|member| up.contains_key(member)).count() > set.len() / 2
            };
            if !ensemble.voter_sets.iter().all(alive) {
                ensemble.leader = None;
                continue;
            }
            if ensemble.leader.is_none_or(|leader| !up.contains_key(&leader) || !ensemble.is_voter(leader)) {
                let candidates: Vec<_> =
                    up.keys().filter(|member| ensemble.is_voter(**member)).copied().collect();
                ensemble.leader = candidates.get(self.random.below(candidates.len())).copied();
                ensemble.term += 1;
            }
            ensemble.commit_index += 1;
            if ensemble.voter_sets.len() == 2 && (!self.faults || self.random.one_in(3)) {
                ensemble.voter_sets.remove(0);
                ensemble.config_index += 1;
                let stay = ensemble.voter_sets[0].clone();
                let retired = ensemble.retired.clone();
                ensemble.members.retain(|member, _| stay.contains(member) || !retired.contains(member));
            }
            for (member, ordinal) in &up {
                let volume = self.volumes.get_mut(ordinal).expect("it is up");
                if volume.disk.ensemble_id != Some(*id) {
                    continue;
                }
                if ensemble.retired.contains(member) && !ensemble.is_voter(*member) {
                    // It hears of it a little later.
                    if !self.faults || self.random.one_in(2) {
                        volume.disk.state = DiskState::Retired;
                    }
                } else if ensemble.members.contains_key(member) {
                    volume.disk.state = DiskState::Member;
                    if !self.faults || self.random.one_in(3) {
                        ensemble.synced.insert(*member);
                        ensemble.matched.insert(*member, ensemble.commit_index);
                    }
                }
            }
        }
    }

    // ------ what the operator sees

    pub fn observe(&mut self) -> (Observed, Seen) {
        let faults = self.faults;
        let random = &mut self.random;
        let mut answers = || !faults || !random.one_in(8);
        let disks = self
            .volumes
            .iter()
            .filter(|(_, volume)| volume.works() && answers())
            .map(|(ordinal, volume)| (*ordinal, volume.disk))
            .collect();
        let leader = answers().then(|| self.leader_view()).flatten();
        self.minted += 1;
        let observed = Observed {
            ensemble_id: self.status.ensemble_id,
            initialized: self.status.initialized,
            replicas: self.status.replicas,
            config_index: self.status.config_index,
            fresh_ensemble_id: EnsembleId(u128::from(self.minted) << 64),
            stateful_set: self.stateful_set.as_ref().map(|set| set.replicas),
            claims: self.volumes.iter().map(|(ordinal, volume)| (*ordinal, volume.claim.clone())).collect(),
            disks,
            leader,
            budget: self.budget,
            pods: self.seen_pods(),
            update_revision: self.update_revision(),
            put_back: self.stands_in().is_some(),
            archive_check: self.archive_check,
            restore: self.seen_restore(),
        };
        let stateful_set_version = self.stateful_set.as_ref().map_or(0, |set| set.version);
        (observed, Seen { stateful_set_version, endings: self.endings })
    }

    /// The Job's name holds the disk that it is for.
    fn seen_restore(&self) -> JobState {
        let operation = self.status.operation.as_ref();
        let wanted = operation.and_then(|operation| Some((operation.seed?, operation.ensemble_id)));
        match self.restore {
            Some((member_id, ensemble_id, state)) if wanted == Some((member_id, ensemble_id)) => state,
            _ => JobState::Absent,
        }
    }

    fn leader_view(&self) -> Option<Leader> {
        let (_, ensemble) = self.live()?;
        let members = ensemble.members.iter().map(|(id, ordinal)| {
            let matched_index = ensemble.matched.get(id).copied().unwrap_or(0);
            // As long ago as the leader's own measure looks back.
            let in_sync = ensemble.synced.contains(id) && matched_index + 3 >= ensemble.commit_index;
            (*id, Member { ordinal: *ordinal, matched_index, in_sync })
        });
        Some(Leader {
            member_id: ensemble.leader?,
            term: ensemble.term,
            config_index: ensemble.config_index,
            commit_index: ensemble.commit_index,
            serving: ensemble.serving,
            members: members.collect(),
            voter_sets: ensemble.voter_sets.clone(),
        })
    }

    fn live(&self) -> Option<(&EnsembleId, &Ensemble)> {
        self.ensembles.iter().find(|(_, ensemble)| ensemble.leader.is_some())
    }

    // ------ what the operator writes

    pub fn operator_crashes(&mut self) -> bool {
        self.faults && self.random.one_in(10)
    }

    pub fn request_is_late(&mut self) -> bool {
        self.faults && self.random.one_in(10)
    }

    /// Only calls that Raft or the disk itself compares may arrive after their sender's lease is over; a request to
    /// the API server is given up before that, so it is lost.
    pub fn delay(&mut self, request: Request) {
        let to_kubernetes = matches!(
            request.step,
            Step::SetReplicas { .. }
                | Step::MarkClaims { .. }
                | Step::SetBudget { .. }
                | Step::DeleteClaim { .. }
                | Step::RenewPod { .. }
                | Step::RemovePod { .. }
                | Step::CheckArchive
                | Step::Restore { .. }
        );
        if !to_kubernetes {
            self.late.push(request);
        }
    }

    /// Writes the latch if the status is still the one that was read.
    pub fn latch(&mut self, read: &Status, step: &Step) -> bool {
        if *read != self.status {
            return false;
        }
        self.note(&format!("{step:?}"));
        match step {
            Step::Begin(operation) => {
                if self.status.initialized {
                    assert_eq!(
                        self.status.ensemble_id,
                        Some(operation.ensemble_id),
                        "I1: a new id for old data"
                    );
                }
                self.status.ensemble_id = Some(operation.ensemble_id);
                self.status.operation = Some(operation.clone());
            }
            Step::Finish { replicas, config_index } => {
                assert!(self.status.operation.is_some(), "I2: finished what never began");
                self.status.operation = None;
                self.status.initialized = true;
                self.status.replicas = Some(*replicas);
                self.status.config_index = *config_index;
            }
            Step::RemovePod { removal, .. } => {
                let operation =
                    self.status.operation.as_mut().expect("I2: a pod removed without an operation");
                operation.removal = Some(removal.clone());
            }
            Step::PutBack { good, .. } => {
                self.status.put_back = Some((self.template, Template::of(good)));
            }
            Step::ChangeVoters { .. }
            | Step::DeleteClaim { .. }
            | Step::Join { .. }
            | Step::AddLearner { .. } => {
                assert!(self.status.operation.is_some(), "I2: {step:?} without a latched operation");
            }
            _ => {}
        }
        self.status.version = self.next_version();
        true
    }

    pub fn act(&mut self, request: Request) {
        match request.step {
            Step::SetReplicas { to, .. } => self.set_replicas(to, request.seen),
            Step::MarkClaims { claims, ensemble_id, initialized } => {
                for mark in claims {
                    let volume = self.volumes.get_mut(&mark.ordinal);
                    if let Some(volume) = volume.filter(|volume| volume.claim.uid == mark.uid) {
                        // One that was given up before it served anybody holds nothing; the plan waits for help then.
                        let other = volume.disk.ensemble_id.filter(|id| *id != ensemble_id);
                        let served = other.and_then(|id| Some(self.ensembles.get(&id)?.serving));
                        assert!(
                            served != Some(true),
                            "I1: {ensemble_id:?} marked on the disk of another ensemble"
                        );
                        volume.claim.ensemble_id = Some(ensemble_id);
                        volume.claim.initialized |= initialized;
                    }
                }
            }
            Step::CheckArchive => self.archive_check = JobState::Running,
            Step::Restore { member_id, ensemble_id, .. } => {
                self.restore = Some((member_id, ensemble_id, JobState::Running));
            }
            Step::Bootstrap { ordinal, member_id, ensemble_id } => {
                assert!(!self.desired.restore, "an empty ensemble in place of the archive");
                self.bootstrap(ordinal, member_id, ensemble_id);
            }
            Step::Join { ordinal, member_id, ensemble_id } => {
                self.join(ordinal, member_id, ensemble_id);
            }
            Step::AddLearner { ordinal, member_id, config_index } => {
                self.add_learner(ordinal, member_id, config_index);
            }
            Step::TransferLeadership { to, term } => {
                if let Some(ensemble) = self.led()
                    && ensemble.term == term
                {
                    assert!(ensemble.is_voter(to), "leadership given to no voter");
                    ensemble.leader = Some(to);
                    ensemble.term += 1;
                }
            }
            Step::SetBudget { min_available } => self.budget = Budget { min_available, in_force: false },
            Step::ChangeVoters { config_index, voters, retire } => {
                self.change_voters(config_index, voters, retire);
            }
            Step::SetServing => {
                if let Some(ensemble) = self.led() {
                    ensemble.serving = true;
                    let serving = self.ensembles.iter().filter(|(_, ensemble)| ensemble.serving);
                    let alive = serving.filter(|(id, _)| self.has_disks(**id)).count();
                    assert!(alive <= 1 || self.volume_lost, "I1: two ensembles serve");
                }
            }
            Step::DeleteClaim { ordinal, uid } => self.delete_claim(ordinal, &uid),
            Step::RenewPod { ordinal, uid } => self.renew_pod(ordinal, &uid),
            Step::RemovePod { removal, by } => self.remove_pod(&removal, by, request.seen),
            Step::PutBack { .. } => unreachable!("latched, never sent"),
            Step::Begin(_) | Step::Finish { .. } => unreachable!("latched, never sent"),
        }
    }

    fn set_replicas(&mut self, to: u32, seen: Seen) {
        let version = self.next_version();
        match &mut self.stateful_set {
            None => {
                let template = self.wanted_template();
                self.stateful_set = Some(StatefulSet { replicas: to, version, template, noticed: false });
            }
            Some(set) if set.version == seen.stateful_set_version => {
                for (ordinal, volume) in self.volumes.range(to..) {
                    for ensemble in self.ensembles.values() {
                        // Not so with a learner that a late call of an earlier operator added.
                        let votes = ensemble.is_voter(volume.disk.member_id);
                        assert!(!votes, "I3: pod {ordinal} taken away while its disk is a voter's");
                    }
                }
                (set.replicas, set.version) = (to, version);
            }
            Some(_) => {}
        }
    }

    fn bootstrap(&mut self, ordinal: u32, member_id: MemberId, ensemble_id: EnsembleId) {
        let Some(disk) = self.blank_disk(ordinal, member_id) else { return };
        disk.state = DiskState::Member;
        disk.ensemble_id = Some(ensemble_id);
        let ensemble = Ensemble {
            config_index: 1,
            term: 1,
            leader: Some(member_id),
            serving: false,
            members: BTreeMap::from([(member_id, ordinal)]),
            voter_sets: vec![BTreeSet::from([member_id])],
            synced: BTreeSet::from([member_id]),
            retired: BTreeSet::new(),
            commit_index: 1,
            matched: BTreeMap::from([(member_id, 1)]),
        };
        let twice = self.ensembles.insert(ensemble_id, ensemble);
        assert!(twice.is_none(), "I1: ensemble {ensemble_id:?} was founded twice");
    }

    fn join(&mut self, ordinal: u32, member_id: MemberId, ensemble_id: EnsembleId) {
        let volume = self.volumes.get_mut(&ordinal).filter(|volume| volume.works());
        let Some(volume) = volume.filter(|volume| volume.disk.member_id == member_id) else { return };
        match volume.disk.state {
            DiskState::Blank => {
                volume.disk.state = DiskState::Joining;
                volume.disk.ensemble_id = Some(ensemble_id);
            }
            DiskState::Retired => {
                assert_eq!(
                    volume.disk.ensemble_id,
                    Some(ensemble_id),
                    "I1: the data of another is set aside"
                );
                let ensemble = &self.ensembles[&ensemble_id];
                // A learner that was retired, and not removed yet, is nobody's copy any more.
                let learns =
                    ensemble.members.contains_key(&member_id) && !ensemble.retired.contains(&member_id);
                assert!(
                    !learns && !ensemble.is_voter(member_id),
                    "I7: the data of member {ordinal} is set aside"
                );
                volume.renewing = true;
            }
            _ => {}
        }
    }

    fn add_learner(&mut self, ordinal: u32, member_id: MemberId, config_index: u64) {
        let Some(ensemble) = self.led().filter(|ensemble| ensemble.config_index == config_index) else {
            return;
        };
        // I5: a disk may be the last to hear that it was retired. The leader knows, and refuses.
        if ensemble.retired.contains(&member_id) {
            return;
        }
        ensemble.members.insert(member_id, ordinal);
        ensemble.config_index += 1;
    }

    fn change_voters(&mut self, config_index: u64, voters: BTreeSet<MemberId>, retire: BTreeSet<MemberId>) {
        let joint = self.faults && self.random.one_in(2);
        let half_way = self.faults && self.random.one_in(4) || self.leader_stops_half_way;
        let lost = self.volume_lost;
        let Some(ensemble) = self.led().filter(|ensemble| ensemble.config_index == config_index) else {
            return;
        };
        assert!(!voters.is_empty(), "I4: no voter would be left");
        // A disk may be the last to hear that it was retired; the leader knows.
        if !voters.is_disjoint(&ensemble.retired) {
            return;
        }
        for voter in &voters {
            assert!(ensemble.members.contains_key(voter), "I4: {voter:?} is no member");
            assert!(lost || ensemble.synced.contains(voter), "I4: {voter:?} is not in sync");
        }
        ensemble.retired.extend(&retire);
        ensemble.config_index += 1;
        let old = ensemble.voter_sets.last().cloned().unwrap_or_default();
        if joint && old != voters {
            ensemble.voter_sets = vec![old, voters];
        } else {
            if !half_way {
                ensemble.members.retain(|member, _| voters.contains(member) || !retire.contains(member));
            }
            ensemble.voter_sets = vec![voters];
        }
    }

    fn delete_claim(&mut self, ordinal: u32, uid: &str) {
        let Some(volume) = self.volumes.get(&ordinal).filter(|volume| volume.claim.uid == uid) else {
            return;
        };
        assert_eq!(
            self.desired.when_scaled,
            ClaimRetention::Delete,
            "I7: claim {ordinal} deleted against the spec"
        );
        for ensemble in self.ensembles.values() {
            // A learner that a late call of an earlier operator added is nobody's only copy.
            let votes = ensemble.is_voter(volume.disk.member_id);
            assert!(!votes, "I7: claim {ordinal} deleted while its disk is a voter's");
        }
        self.volumes.remove(&ordinal);
    }

    pub(crate) fn led(&mut self) -> Option<&mut Ensemble> {
        self.ensembles.values_mut().find(|ensemble| ensemble.leader.is_some())
    }

    fn blank_disk(&mut self, ordinal: u32, member_id: MemberId) -> Option<&mut Disk> {
        let volume = self.volumes.get_mut(&ordinal).filter(|volume| volume.works())?;
        let disk = &mut volume.disk;
        (disk.member_id == member_id && disk.state == DiskState::Blank).then_some(disk)
    }

    fn has_disks(&self, id: EnsembleId) -> bool {
        self.volumes.values().any(|volume| volume.disk.ensemble_id == Some(id))
    }

    pub(crate) fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    pub(crate) fn note(&mut self, what: &str) {
        self.history.push(what.to_owned());
    }

    // ------ how it ended

    /// Waiting for somebody is right only if something happened that nobody but a person can mend.
    pub fn excuses(&self, reason: &Reason) -> bool {
        // New members cannot start, and there is no good template to go back to: it waits until the spec changes.
        let good = self.status.operation.as_ref().and_then(|operation| operation.good.as_ref());
        let hopeless = !self.template.works() && self.stands_in().is_none() && good.is_none();
        let refused = *reason == Reason::ArchiveRefused && !self.archive_is_good;
        assert!(!refused || self.stateful_set.is_none(), "a refused archive started something");
        refused
            || hopeless
            || self.failed_well(reason)
            || self.volume_lost && (reason.needs_help() || !self.quorum_possible())
    }

    fn quorum_possible(&self) -> bool {
        self.live().is_some()
    }

    pub fn serving_ensemble(&self) -> Option<EnsembleId> {
        self.live().filter(|(_, ensemble)| ensemble.serving).map(|(id, _)| *id)
    }

    pub fn is_ready(&self) -> bool {
        let Some((_, ensemble)) = self.live() else { return false };
        ensemble.serving
            && ensemble.voter_sets.len() == 1
            && ensemble.voter_sets[0].len() as u32 == self.desired.replicas
            && ensemble.members.len() as u32 == self.desired.replicas
            && self.stateful_set.as_ref().is_some_and(|set| set.replicas == self.desired.replicas)
            && self.budget.min_available == zke_plan::min_available(&ensemble.voter_sets)
            && self.status.operation.is_none()
            && self.all_pods_are_of(self.template)
    }

    /// A template that does not work was tried on one member at most, and all run the last good one again.
    fn failed_well(&self, reason: &Reason) -> bool {
        let Some((failed, good)) = self.status.put_back else { return false };
        *reason == Reason::CanaryFailed
            && failed == self.template
            && !failed.works()
            && self.all_pods_are_of(good)
            && self.live().is_some_and(|(_, ensemble)| ensemble.serving)
    }

    pub fn assert_ready(&self) {
        assert!(self.is_ready(), "the plan says done, but: {self:#?}");
    }
}

impl Ensemble {
    pub fn is_voter(&self, id: MemberId) -> bool {
        self.voter_sets.iter().any(|set| set.contains(&id))
    }
}
