//! The world's pods: made from templates, some of which do not work; drained, killed, renewed.

use std::collections::{BTreeMap, BTreeSet};

use zke_plan::{MemberId, PodState, Removal, RemovalBy, Revision};

use crate::world::{Seen, Volume, World};

/// A pod is late when it has not been ready for this many ticks.
const LATE: u32 = 40;
/// Ticks for which a process must be ready.
const MIN_READY: u32 = 2;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Template(pub u64);

impl Template {
    /// With some no process starts; with others one runs and never gets anywhere.
    pub fn works(self) -> bool {
        self.0 % 4 < 2
    }

    fn starts(self) -> bool {
        self.0 % 4 != 3
    }

    pub fn revision(self) -> Revision {
        Revision(self.0.to_string())
    }

    pub fn of(revision: &Revision) -> Self {
        Self(revision.0.parse().expect("made by revision()"))
    }
}

#[derive(Clone, Debug)]
pub struct Pod {
    uid: u64,
    template: Template,
    unready: u32,
    /// Since when its process runs; `None` when it does not.
    running: Option<u32>,
    ran: bool,
}

impl Pod {
    pub fn end_process(&mut self) {
        self.running = None;
    }

    fn state(&self) -> PodState {
        match self.running {
            // A process that has run before is started again at once.
            None if self.ran => PodState::Running,
            None => PodState::Down,
            Some(ticks) if self.template.works() && ticks >= MIN_READY => PodState::Settled,
            Some(_) => PodState::Running,
        }
    }
}

impl Volume {
    /// Its process runs and does its work.
    pub fn works(&self) -> bool {
        self.pod.as_ref().is_some_and(|pod| pod.running.is_some() && pod.template.works())
    }
}

impl World {
    /// Makes missing pods, from the template of this moment, and starts their processes.
    pub(crate) fn run_pods(&mut self) {
        let Some(set) = &mut self.stateful_set else { return };
        set.noticed = set.noticed || !self.faults || self.random.one_in(2);
        for (ordinal, volume) in &mut self.volumes {
            if *ordinal >= set.replicas {
                volume.pod = None;
                continue;
            }
            let pod = volume.pod.get_or_insert_with(|| {
                self.minted += 1;
                Pod { uid: self.minted, template: set.template, unready: 0, running: None, ran: false }
            });
            match &mut pod.running {
                Some(ticks) => *ticks += 1,
                None if pod.template.starts() && (!self.faults || self.random.one_in(2)) => {
                    (pod.running, pod.ran) = (Some(0), true);
                }
                None => {}
            }
            pod.unready = if pod.state() == PodState::Settled { 0 } else { pod.unready + 1 };
        }
    }

    /// A member that the operator took down is back once it has everything again.
    pub(crate) fn notice_return(&mut self) {
        let Some(ordinal) = self.out_by_us else { return };
        let back = self.volumes.get(&ordinal).is_none_or(|volume| {
            let id = volume.disk.member_id;
            let ensemble = self.ensembles.values().find(|ensemble| ensemble.members.contains_key(&id));
            volume.works()
                && ensemble.is_none_or(|ensemble| {
                    ensemble.matched.get(&id).is_some_and(|matched| matched + 3 >= ensemble.commit_index)
                })
        });
        if back {
            self.out_by_us = None;
        }
    }

    /// A process crashes, or somebody deletes the pod.
    pub(crate) fn end_pod(&mut self, ordinal: u32) {
        self.endings += 1;
        let deleted = self.random.one_in(2);
        let volume = self.volumes.get_mut(&ordinal).expect("listed");
        match &mut volume.pod {
            Some(pod) if !deleted => pod.end_process(),
            pod => *pod = None,
        }
    }

    /// The controller keeps the template current at each look; it moves no pod.
    pub fn apply_template(&mut self) {
        let wanted = self.wanted_template();
        let version = self.next_version();
        if let Some(set) = self.stateful_set.as_mut().filter(|set| set.template != wanted) {
            (set.template, set.noticed, set.version) = (wanted, false, version);
        }
    }

    pub(crate) fn wanted_template(&self) -> Template {
        self.stands_in().unwrap_or(self.template)
    }

    /// The good template in place of the spec's, as long as that is the one that failed.
    pub(crate) fn stands_in(&self) -> Option<Template> {
        self.status.put_back.filter(|(failed, _)| *failed == self.template).map(|(_, good)| good)
    }

    pub(crate) fn update_revision(&self) -> Option<Revision> {
        let set = self.stateful_set.as_ref()?;
        (set.noticed && set.template == self.wanted_template()).then(|| set.template.revision())
    }

    pub(crate) fn seen_pods(&self) -> BTreeMap<u32, zke_plan::Pod> {
        let pods = self.volumes.iter().filter_map(|(ordinal, volume)| Some((*ordinal, volume.pod.as_ref()?)));
        pods.map(|(ordinal, pod)| {
            let seen = zke_plan::Pod {
                uid: pod.uid.to_string(),
                revision: Some(pod.template.revision()),
                state: pod.state(),
                late: pod.unready > LATE,
            };
            (ordinal, seen)
        })
        .collect()
    }

    pub(crate) fn all_pods_are_of(&self, template: Template) -> bool {
        let mut pods = self.volumes.values().filter_map(|volume| volume.pod.as_ref());
        pods.all(|pod| pod.template == template)
    }

    /// A node is drained: the budget alone decides whether this pod may go.
    pub(crate) fn drain(&mut self) {
        let healthy = self.healthy();
        if healthy.is_empty() || self.enforced_budget.is_none() {
            return;
        }
        let victim = healthy[self.random.below(healthy.len())];
        if self.evict(victim) {
            self.endings += 1;
            self.assert_quorum(&format!("I3: a drain of {victim} took the quorum"));
        }
    }

    /// Pods of voters that serve, as the budget counts them.
    fn healthy(&self) -> Vec<u32> {
        let Some(ensemble) = self.ensembles.values().find(|ensemble| ensemble.serving) else {
            return Vec::new();
        };
        let healthy = self
            .volumes
            .iter()
            .filter(|(_, volume)| volume.works() && ensemble.is_voter(volume.disk.member_id));
        healthy.map(|(ordinal, _)| *ordinal).collect()
    }

    /// What the Eviction API does.
    fn evict(&mut self, ordinal: u32) -> bool {
        let healthy = self.healthy();
        let protected = healthy.contains(&ordinal);
        let allowed = !protected || self.enforced_budget.is_none_or(|keep| healthy.len() as u32 > keep);
        if allowed && let Some(volume) = self.volumes.get_mut(&ordinal) {
            volume.pod = None;
        }
        allowed
    }

    pub(crate) fn renew_pod(&mut self, ordinal: u32, uid: &str) {
        let Some(volume) = self.volumes.get_mut(&ordinal) else { return };
        // The request carries the version of the pod that was seen, so a process that started since protects it.
        if !volume.works() && volume.pod.as_ref().is_some_and(|pod| pod.uid.to_string() == uid) {
            volume.pod = None;
        }
    }

    pub(crate) fn remove_pod(&mut self, removal: &Removal, by: RemovalBy, seen: Seen) {
        let ordinal = removal.ordinal;
        let Some(volume) = self.volumes.get(&ordinal) else { return };
        if volume.pod.as_ref().is_none_or(|pod| pod.uid.to_string() != removal.pod_uid) {
            return;
        }
        let was_healthy = self.healthy().contains(&ordinal);
        let had_quorum = self.has_quorum();
        let gone = match by {
            RemovalBy::Eviction => self.evict(ordinal),
            RemovalBy::Deletion => {
                self.volumes.get_mut(&ordinal).expect("found above").pod = None;
                true
            }
        };
        if !gone || !was_healthy {
            return;
        }
        let before = self.out_by_us.replace(ordinal);
        if seen.endings != self.endings {
            // Somebody else took a pod away between look and step, which nobody could know.
            return;
        }
        assert!(
            before.is_none_or(|before| before == ordinal),
            "I2: {ordinal} removed while {before:?} is out"
        );
        if had_quorum && self.status.replicas != Some(1) {
            self.assert_quorum(&format!("I3: the operator took the quorum with {ordinal}"));
        }
    }

    fn assert_quorum(&self, what: &str) {
        assert!(self.has_quorum(), "{what}: at least {:?}", self.enforced_budget);
    }

    fn has_quorum(&self) -> bool {
        let up: BTreeSet<MemberId> = self
            .volumes
            .values()
            .filter(|volume| volume.works())
            .map(|volume| volume.disk.member_id)
            .collect();
        let Some(ensemble) = self.ensembles.values().find(|ensemble| ensemble.serving) else { return true };
        ensemble.voter_sets.iter().all(|set| set.intersection(&up).count() > set.len() / 2)
    }
}
