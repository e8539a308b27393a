//! The world of a simulation: machines with disks and members on them, and the network between them.

mod disks;

use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use openraft_rt_sim::{SimInstant, SimRuntime};
use parking_lot::Mutex;
use zkd::barriers::Barriers;
use zkd::hub::Hub;
use zkd::stats::Stats;
use zke_consensus::clock::{Instant, RuntimeClock};
use zke_consensus::{AsyncRuntime, Drivers, Ensemble, Options, PeerNode, Role, Serving, Setup, StartError};
use zke_storage::disk::{Fault, Point};
use zke_storage::{Disk, DiskState, SimDisk};
use zke_tree::{Command, EnsembleId};
use zke_wire::SessionId;

use crate::chronicle::{Chronicle, Line};
use crate::network::{SimNetwork, SimTransport};
use crate::slow_disk::Flushes;
use crate::witness::Witness;

pub type Member = Ensemble<SimRuntime>;

/// Small, so that runs cross segments.
pub const SEGMENT_BYTES: u64 = 64 << 10;
/// How often a machine may lose its power while its process starts: more often than any story lets it.
const BOOTS_MAX: usize = 4;
/// Of virtual time: longer than any story that goes on, so that one which waits for ever is told of.
const STORY_MAX: Duration = Duration::from_secs(150);
/// How late a process may notice that it serves no more; its lease says so at once to whoever reads.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

#[derive(Clone)]
pub struct World {
    inner: Arc<Inner>,
}

struct Inner {
    seed: u64,
    network: SimNetwork,
    chronicle: Arc<Chronicle>,
    options: Options,
    segment_bytes: AtomicU64,
    minted: Mutex<u64>,
    machines: Mutex<Vec<Machine>>,
    outages: Mutex<Vec<Outage>>,
    /// How many machines the ensemble began with.
    founders: AtomicUsize,
    /// Held by whoever ends processes and starts them again.
    hands: tokio::sync::Mutex<()>,
}

/// A place for a member: its disk outlives its processes.
struct Machine {
    disk: SimDisk,
    /// Those of its log; how slow they are outlives the disk.
    flushes: Flushes,
    process: Option<Process>,
    /// Its member left the ensemble for ever.
    retired: bool,
    /// Of the version that is installed there.
    newest_apply_level: u32,
}

/// One run of a member on its machine.
#[derive(Clone)]
pub struct Process {
    pub ensemble: Member,
    pub hub: Arc<Hub>,
    pub barriers: Arc<Barriers>,
    witness: Arc<Witness>,
    failed: Arc<AtomicBool>,
}

/// What becomes of a process and of what it wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// In order: it stops by itself.
    Stop,
    /// At once; the machine goes on, and with it everything that was written.
    Kill,
    /// The machine loses its power, and what was not synced.
    PowerLoss,
}

/// The power of a machine goes off at one change of its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    pub machine: usize,
    pub point: Point,
    /// Of the changes at that point, from the disk's first on, so many are let through.
    pub hits: u64,
    pub fault: Fault,
}

/// Runs `scenario` in a world made from `seed` and returns what happened.
pub fn run<F: Future<Output = ()> + Send + 'static>(
    seed: u64,
    scenario: impl FnOnce(World) -> F + Send + 'static,
) -> Vec<Line> {
    run_with(seed, Options::default(), scenario)
}

/// The same with other options than a daemon's.
pub fn run_with<F: Future<Output = ()> + Send + 'static>(
    seed: u64,
    options: Options,
    scenario: impl FnOnce(World) -> F + Send + 'static,
) -> Vec<Line> {
    let mut runtime = SimRuntime::with_seed(seed);
    let lines = Arc::new(Mutex::new(Vec::new()));
    let written = lines.clone();
    runtime.block_on(async move {
        let chronicle = Arc::new(Chronicle::begin());
        let inner = Inner {
            seed,
            network: SimNetwork::new(seed),
            chronicle: chronicle.clone(),
            options: Options { serve_at_once: true, ..options },
            segment_bytes: AtomicU64::new(SEGMENT_BYTES),
            minted: Mutex::default(),
            machines: Mutex::default(),
            outages: Mutex::default(),
            founders: AtomicUsize::default(),
            hands: tokio::sync::Mutex::new(()),
        };
        let world = World { inner: Arc::new(inner) };
        let story = async {
            scenario(world.clone()).await;
            world.stop_all().await;
        };
        let ended = SimRuntime::timeout(STORY_MAX, story).await;
        assert!(ended.is_ok(), "LIVE: something that was waited for never came; it is {STORY_MAX:?} later");
        *written.lock() = chronicle.take();
    });
    drop(runtime);
    std::mem::take(&mut *lines.lock())
}

/// An error as an operator reads it.
fn with_causes(error: &StartError) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        said = format!("{said}: {error}");
        cause = error.source();
    }
    said
}

fn address(member: usize) -> PeerNode {
    PeerNode { pod: format!("server.{member}"), address: format!("member-{member}:2888") }
}

/// The machine whose member has this pod's name.
pub fn machine_of(pod: &str) -> Option<usize> {
    pod.strip_prefix("server.")?.parse().ok()
}

/// Machines and processes.
impl World {
    /// A new ensemble on blank disks.
    pub async fn start_members(&self, count: usize) {
        for member in 0..count {
            self.add_machine();
            self.boot(member).await;
        }
        self.inner.founders.store(count, Relaxed);
        (0..count).for_each(|member| self.found(member));
    }

    /// Of the logs of all processes that start from now on.
    pub fn set_segment_bytes(&self, segment_bytes: u64) {
        self.inner.segment_bytes.store(segment_bytes, Relaxed);
    }

    /// As the daemon does at each start: brings the disk of one of the first machines into their ensemble, if it is blank.
    pub fn found(&self, member: usize) {
        let (ensemble, disk) = (self.member(member), self.disk(member));
        let others = (0..self.inner.founders.load(Relaxed)).filter(|other| *other != member);
        let others = others.map(address).collect();
        let fresh = EnsembleId((u128::from(self.inner.seed) | 1 << 127).to_be_bytes());
        SimRuntime::spawn(async move {
            let started = ensemble.first_start(fresh, address(member).address, others, member == 0).await;
            assert!(started.is_ok() || disk.list().is_err(), "all disks are blank: {started:?}");
        });
    }

    /// One more process, on a disk of its own that waits to be brought into an ensemble. Returns its number.
    pub async fn start_blank(&self) -> usize {
        let member = self.add_machine();
        self.boot(member).await;
        member
    }

    fn add_machine(&self) -> usize {
        let mut machines = self.inner.machines.lock();
        let seed = self.inner.seed ^ (machines.len() as u64 + 1);
        let (disk, flushes) = (SimDisk::new(seed), Flushes::of_disk(seed));
        let newest_apply_level = self.inner.options.newest_apply_level;
        machines.push(Machine { disk, flushes, process: None, retired: false, newest_apply_level });
        machines.len() - 1
    }

    /// How many machines there ever were.
    pub fn machines(&self) -> usize {
        self.inner.machines.lock().len()
    }

    /// Installs another version on a machine: the processes that start there go up to this apply level.
    pub fn install(&self, member: usize, newest_apply_level: u32) {
        self.inner.machines.lock()[member].newest_apply_level = newest_apply_level;
    }

    /// Whether a process starts on a machine that has none, and nothing of its power fails.
    pub async fn starts(&self, member: usize) -> bool {
        self.try_boot(member).await.is_ok()
    }

    /// The same on a machine of whose disk a bit of `file` flipped, if a start may read over it; else the start has to
    /// name that file.
    pub async fn starts_or_names(&self, member: usize, file: &str) -> bool {
        let Err(error) = self.try_boot(member).await else { return true };
        let said = with_causes(&error);
        assert!(
            said.contains(&format!("{file} is corrupt at byte"))
                || said.contains(&format!("{file} has format")),
            "START: a bit of {file} flipped at member {member}, which says {said}"
        );
        self.note(format!("member {member} does not start: {said}"));
        false
    }

    /// Starts a process on a machine that has none; again if the machine loses its power meanwhile.
    pub async fn boot(&self, member: usize) {
        for _ in 0..BOOTS_MAX {
            self.expect_outages(member);
            match self.try_boot(member).await {
                Ok(()) => return,
                Err(_) if !self.has_power(member) => {
                    self.note(format!("member {member} loses its power while it starts"));
                    self.reboot_disk(member, End::PowerLoss);
                }
                Err(error) => panic!("START: member {member} does not start on its disk: {error:?}"),
            }
        }
        panic!("LIVE: member {member} lost its power at each of {BOOTS_MAX} starts");
    }

    /// Those of this disk that did not come yet.
    fn expect_outages(&self, member: usize) {
        let disk = self.disk(member);
        let changes = disk.points();
        for outage in self.inner.outages.lock().iter().filter(|outage| outage.machine == member) {
            let hits = changes.iter().filter(|point| **point == outage.point).count() as u64;
            if let Some(hits) = outage.hits.checked_sub(hits) {
                disk.inject_at(outage.point, hits, outage.fault);
            }
        }
    }

    async fn try_boot(&self, member: usize) -> Result<(), StartError> {
        let (disk, flushes) = (self.disk(member), self.flushes(member));
        let hub = Arc::new(Hub::new(Arc::new(Stats::default())));
        let (chronicle, touched) = (self.inner.chronicle.clone(), Mutex::default());
        let witness = Arc::new(Witness { member, chronicle, hub: hub.clone(), touched });
        let setup = Setup {
            log_disk: disk.clone(),
            disk,
            segment_bytes: self.inner.segment_bytes.load(Relaxed),
            pod: address(member).pod,
            joins_by_itself: true,
            fresh_member_id: self.fresh_member_id(),
            options: Options {
                newest_apply_level: self.inner.machines.lock()[member].newest_apply_level,
                ..self.inner.options.clone()
            },
            drivers: Drivers::Inline(flushes.pace()),
            transport: Arc::new(SimTransport::new(self.inner.network.clone(), member)),
            clock: Arc::new(RuntimeClock::<SimRuntime>::starting_now()),
            observer: witness.clone(),
        };
        let ensemble = Ensemble::<SimRuntime>::start(setup).await?;
        hub.reached(&ensemble.state().read());
        let (barriers, failed) = (Arc::new(Barriers::default()), Arc::new(AtomicBool::new(false)));
        let process = Process { ensemble, hub, barriers, witness, failed };
        self.inner.network.listen(&address(member).address, member, process.ensemble.clone());
        self.inner.machines.lock()[member].process = Some(process.clone());
        SimRuntime::spawn(process.clone().let_clients_in());
        let takes_barriers = process.clone();
        SimRuntime::spawn(async move {
            takes_barriers.barriers.run(&takes_barriers.ensemble, &takes_barriers.hub).await
        });
        SimRuntime::spawn(self.clone().await_failure(member, process));
        self.note(format!("member {member} runs"));
        Ok(())
    }

    async fn await_failure(self, member: usize, process: Process) {
        let reason = process.ensemble.failed().await;
        process.failed.store(true, Relaxed);
        self.note(format!("member {member} cannot go on: {reason}"));
    }

    /// Ends the process on a machine, if there is one.
    pub async fn end(&self, member: usize, how: End) {
        let Some(process) = self.inner.machines.lock()[member].process.take() else { return };
        self.note(format!("member {member} ends: {how:?}"));
        if how != End::Stop {
            self.reboot_disk(member, how);
            self.inner.network.unplug(member);
        }
        process.hub.serve(false);
        process.ensemble.shutdown().await;
        if how == End::Stop {
            self.inner.network.unplug(member);
            self.reboot_disk(member, End::Kill);
        }
    }

    fn fresh_member_id(&self) -> u64 {
        let mut minted = self.inner.minted.lock();
        *minted += 1;
        self.inner.seed.wrapping_mul(31) + *minted
    }

    /// Ends one process in order and starts it again on its disk.
    pub async fn restart(&self, member: usize) {
        self.end(member, End::Stop).await;
        self.boot(member).await;
    }

    /// Ends one process, whatever it was at, as its machine loses its power; starts it again.
    pub async fn crash(&self, member: usize) {
        self.end(member, End::PowerLoss).await;
        self.boot(member).await;
    }

    /// Kills every process at once; disks keep only what was made durable, and whatever else the seed says.
    pub async fn crash_all(&self) {
        for member in 0..self.machines() {
            self.reboot_disk(member, End::PowerLoss);
        }
        for member in 0..self.machines() {
            self.end(member, End::PowerLoss).await;
        }
    }

    pub async fn restart_all(&self) {
        for member in (0..self.machines()).filter(|member| !self.is_retired(*member)) {
            self.boot(member).await;
        }
    }

    async fn stop_all(&self) {
        self.inner.network.forget();
        for member in 0..self.machines() {
            self.end(member, End::Stop).await;
        }
    }

    /// The process on a machine whose member left for ever.
    pub async fn retire(&self, member: usize) {
        self.inner.machines.lock()[member].retired = true;
        self.end(member, End::Stop).await;
    }

    pub fn is_retired(&self, member: usize) -> bool {
        self.inner.machines.lock()[member].retired
    }

    /// The right to end processes and to start them again, for as long as it is held.
    pub async fn hands(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.inner.hands.lock().await
    }
}

/// Looking at it.
impl World {
    pub fn seed(&self) -> u64 {
        self.inner.seed
    }

    pub fn network(&self) -> &SimNetwork {
        &self.inner.network
    }

    pub fn chronicle(&self) -> &Arc<Chronicle> {
        &self.inner.chronicle
    }

    pub fn note(&self, what: impl Into<String>) {
        self.inner.chronicle.note(what);
    }

    /// The process that runs on a machine, if there is one.
    pub fn process(&self, member: usize) -> Option<Process> {
        self.inner.machines.lock()[member].process.clone()
    }

    /// Whether a process runs there and can go on.
    pub fn is_well(&self, member: usize) -> bool {
        self.process(member).is_some_and(|process| !process.failed.load(Relaxed))
    }

    /// The handle of one member, for administration. Its process has to run.
    pub fn member(&self, member: usize) -> Member {
        self.process(member).expect("this member runs").ensemble
    }

    /// The numbers of those that run.
    pub fn running(&self) -> Vec<usize> {
        (0..self.machines()).filter(|member| self.process(*member).is_some()).collect()
    }

    /// How the others reach a member.
    pub fn node(&self, member: usize) -> PeerNode {
        address(member)
    }

    pub fn serves(&self, member: usize) -> bool {
        let serving = |process: Process| *process.ensemble.serving().borrow() == Serving::Yes;
        self.process(member).is_some_and(serving)
    }

    pub fn leader(&self) -> Option<usize> {
        self.running().into_iter().find(|member| self.member(*member).status().role == Role::Leader)
    }

    /// The machines whose members vote, as the leader knows it; none without a leader.
    pub fn voters(&self) -> Vec<usize> {
        let Some(leader) = self.leader() else { return Vec::new() };
        let status = self.member(leader).status();
        let mut voters: Vec<usize> = status
            .voter_sets
            .iter()
            .flatten()
            .filter_map(|id| machine_of(&status.members.get(id)?.pod))
            .collect();
        voters.sort_unstable();
        voters.dedup();
        voters
    }

    pub fn exists(&self, member: usize, path: &str) -> bool {
        self.member(member).state().read().exists(path, &[]).is_ok()
    }

    pub fn has_session(&self, member: usize, session: SessionId) -> bool {
        self.member(member).state().read().session(session).is_some()
    }
}

/// Doing something with it, and waiting for it.
impl World {
    /// Runs something beside the scenario, until the world ends.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        SimRuntime::spawn(task);
    }

    pub async fn sleep(&self, duration: Duration) {
        SimRuntime::sleep(duration).await;
    }

    /// Waits until something holds; false if it does not in time.
    pub async fn holds_within(&self, deadline: Duration, holds: impl Fn() -> bool) -> bool {
        let start = SimInstant::now();
        while !holds() {
            if SimInstant::now() - start >= deadline {
                return false;
            }
            SimRuntime::sleep(Duration::from_millis(5)).await;
        }
        true
    }

    async fn wait_until(&self, what: &str, deadline: Duration, holds: impl Fn() -> bool) {
        let seed = self.inner.seed;
        assert!(self.holds_within(deadline, holds).await, "LIVE: seed {seed}: not in time: {what}");
        self.note(what);
    }

    pub async fn wait_serving(&self, member: usize, deadline: Duration) {
        self.wait_until(&format!("member {member} serves"), deadline, || self.serves(member)).await;
    }

    pub async fn wait_all_serving(&self, deadline: Duration) {
        let running = self.running();
        self.wait_until("all serve", deadline, || running.iter().all(|member| self.serves(*member))).await;
    }

    pub async fn wait_retired(&self, member: usize, deadline: Duration) {
        let ensemble = self.member(member);
        let retired = || ensemble.status().identity.state == DiskState::Retired;
        self.wait_until(&format!("member {member} knows that it is retired"), deadline, retired).await;
    }

    /// Until all of `members` have applied the same and agree on it.
    pub async fn wait_equal_among(&self, members: &[usize], deadline: Duration) {
        let ensembles: Vec<Member> = members.iter().map(|member| self.member(*member)).collect();
        let views = || {
            ensembles.iter().map(|ensemble| {
                let state = ensemble.state().read();
                (state.applied(), state.digest())
            })
        };
        self.wait_until("all equal", deadline, || views().all(|view| Some(view) == views().next())).await;
    }

    pub async fn wait_equal(&self, deadline: Duration) {
        self.wait_equal_among(&self.running(), deadline).await;
    }

    pub fn propose(&self, member: usize, command: Command) -> u64 {
        self.member(member).propose(command).expect("there is room")
    }

    /// Waits until a member applied a command of its own.
    pub async fn wait_own(&self, member: usize, sequence: u64) {
        let ensemble = self.member(member);
        let applied = || {
            let state = ensemble.state().read();
            state.mark(ensemble.origin()) >= sequence
        };
        self.wait_until(&format!("member {member} applied its {sequence}"), Duration::from_secs(10), applied)
            .await;
    }

    /// Proposes on one member and waits until that member applied it.
    pub async fn propose_and_wait(&self, member: usize, command: Command) {
        let sequence = self.propose(member, command);
        self.wait_own(member, sequence).await;
    }

    /// A client of `member` was heard from.
    pub fn touch(&self, member: usize, session: SessionId) {
        let process = self.process(member).expect("this member runs");
        process.witness.touched.lock().push(session);
    }

    pub fn cut_off(&self, member: usize) {
        self.note(format!("member {member} is cut off"));
        self.inner.network.cut_off(member);
    }

    pub fn heal(&self) {
        self.note("the network heals");
        self.inner.network.heal();
    }
}

impl Process {
    /// As the daemon does, but by looking: tokio's watch wakes those who wait in an order that no seed decides.
    async fn let_clients_in(self) {
        let serving = self.ensemble.serving();
        let mut before = false;
        loop {
            let now = *serving.borrow() == Serving::Yes;
            if now != before {
                self.hub.serve(now);
                before = now;
            }
            SimRuntime::sleep(LOOK_INTERVAL).await;
        }
    }
}
