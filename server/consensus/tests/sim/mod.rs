//! The world of a simulation: members, their disks, and the network between them.

mod network;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use openraft_rt_sim::{SimInstant, SimRuntime};
use parking_lot::Mutex;
use zke_consensus::clock::RuntimeClock;
use zke_consensus::{AsyncRuntime, Drivers, Ensemble, Observer, Options, PeerNode, Role, Serving, Setup};
use zke_storage::disk::Fault;
use zke_storage::{DiskState, SimDisk};
use zke_tree::{Applied, Command, EnsembleId, LogIndex, State};
use zke_wire::SessionId;

use network::{SimNetwork, SimTransport};

type Member = Ensemble<SimRuntime>;

/// Small, so that tests cross segments.
const SEGMENT_BYTES: u64 = 64 << 10;

#[derive(Clone)]
pub struct World {
    inner: Arc<Inner>,
}

struct Inner {
    seed: u64,
    network: SimNetwork,
    disks: Mutex<Vec<SimDisk>>,
    minted: Mutex<u64>,
    members: Mutex<Vec<Member>>,
    observers: Mutex<Vec<Arc<Recorder>>>,
    history: Arc<Mutex<Vec<String>>>,
    start: SimInstant,
}

/// Runs `scenario` in a world made from `seed` and returns the world's history.
pub fn run<F: Future<Output = ()> + Send + 'static>(
    seed: u64,
    scenario: impl FnOnce(World) -> F + Send + 'static,
) -> Vec<String> {
    let mut runtime = SimRuntime::with_seed(seed);
    let history = Arc::new(Mutex::new(Vec::new()));
    let recorded = history.clone();
    runtime.block_on(async move {
        let world = World {
            inner: Arc::new(Inner {
                seed,
                network: SimNetwork::new(seed),
                disks: Mutex::default(),
                minted: Mutex::default(),
                members: Mutex::default(),
                observers: Mutex::default(),
                history: recorded,
                start: openraft_now(),
            }),
        };
        scenario(world.clone()).await;
        world.stop_all().await;
    });
    drop(runtime);
    std::mem::take(&mut *history.lock())
}

fn openraft_now() -> SimInstant {
    <SimInstant as zke_consensus::clock::Instant>::now()
}

pub fn address(member: usize) -> PeerNode {
    PeerNode { pod: format!("server.{member}"), address: format!("member-{member}:2888") }
}

impl World {
    pub async fn start_members(&self, count: usize) {
        for member in 0..count {
            self.inner.disks.lock().push(SimDisk::new(self.inner.seed ^ (member as u64 + 1)));
        }
        self.start_all().await;
        for member in 0..count {
            let ensemble = self.member(member);
            let others = (0..count).filter(|other| *other != member).map(address).collect();
            let fresh = EnsembleId((u128::from(self.inner.seed) | 1 << 127).to_be_bytes());
            SimRuntime::spawn(async move {
                let started = ensemble.first_start(fresh, address(member).address, others, member == 0).await;
                started.expect("all disks are blank");
            });
        }
    }

    /// One more process, on a disk of its own that waits to be brought into an ensemble. Returns its number.
    pub async fn start_blank(&self) -> usize {
        let member = self.members().len();
        let disk = SimDisk::new(self.inner.seed ^ (member as u64 + 1));
        self.inner.disks.lock().push(disk.clone());
        let (ensemble, recorder) = self.start(member, disk).await;
        self.inner.members.lock().push(ensemble);
        self.inner.observers.lock().push(recorder);
        member
    }

    async fn start_all(&self) {
        let disks = self.inner.disks.lock().clone();
        for (member, disk) in disks.into_iter().enumerate() {
            let (ensemble, recorder) = self.start(member, disk).await;
            self.inner.members.lock().push(ensemble);
            self.inner.observers.lock().push(recorder);
        }
    }

    async fn start(&self, member: usize, disk: SimDisk) -> (Member, Arc<Recorder>) {
        let recorder = Arc::new(Recorder {
            member,
            start: self.inner.start,
            history: self.inner.history.clone(),
            touched: Mutex::default(),
        });
        let setup = Setup {
            log_disk: disk.clone(),
            disk,
            segment_bytes: SEGMENT_BYTES,
            pod: address(member).pod,
            joins_by_itself: true,
            fresh_member_id: self.fresh_member_id(),
            options: Options { serve_at_once: true, ..Options::default() },
            drivers: Drivers::Inline,
            transport: Arc::new(SimTransport::new(self.inner.network.clone(), member)),
            clock: Arc::new(RuntimeClock::<SimRuntime>::starting_now()),
            observer: recorder.clone(),
        };
        let ensemble = Ensemble::<SimRuntime>::start(setup).await.expect("a simulated disk opens");
        self.inner.network.listen(&address(member).address, member, ensemble.clone());
        (ensemble, recorder)
    }

    fn fresh_member_id(&self) -> u64 {
        let mut minted = self.inner.minted.lock();
        *minted += 1;
        self.inner.seed.wrapping_mul(31) + *minted
    }

    /// Ends one process in order and starts it again on its disk.
    pub async fn restart(&self, member: usize) {
        self.member(member).shutdown().await;
        let disk = self.inner.disks.lock()[member].kill();
        self.inner.disks.lock()[member] = disk.clone();
        let (ensemble, recorder) = self.start(member, disk).await;
        self.inner.members.lock()[member] = ensemble;
        self.inner.observers.lock()[member] = recorder;
        self.record(&format!("member {member} restarted"));
    }

    async fn stop_all(&self) {
        let members = std::mem::take(&mut *self.inner.members.lock());
        self.inner.network.forget();
        self.inner.observers.lock().clear();
        for member in members {
            member.shutdown().await;
        }
    }

    /// Lets the power of one member's machine go off at one of its next changes of the disk, `operations` from now.
    pub fn lose_power_after(&self, member: usize, operations: u64) {
        let disk = &self.inner.disks.lock()[member];
        disk.inject(disk.operations() + operations, Fault::PowerLoss);
    }

    /// Ends one process, whatever it was at, as its machine loses its power; starts it again.
    pub async fn crash(&self, member: usize) {
        let disk = self.inner.disks.lock()[member].crash();
        self.inner.disks.lock()[member] = disk.clone();
        self.member(member).shutdown().await;
        let (ensemble, recorder) = self.start(member, disk).await;
        self.inner.members.lock()[member] = ensemble;
        self.inner.observers.lock()[member] = recorder;
        self.record(&format!("member {member} crashed and started again"));
    }

    pub async fn wait_serving(&self, member: usize, deadline: Duration) {
        self.wait_until(&format!("member {member} serves"), deadline, || self.serves(member)).await;
    }

    /// Kills every process at once; disks keep only what was made durable, and whatever else the seed says.
    pub async fn crash_all(&self) {
        for disk in self.inner.disks.lock().iter_mut() {
            *disk = disk.crash();
        }
        self.stop_all().await;
        self.record("all members crashed");
    }

    pub async fn restart_all(&self) {
        self.start_all().await;
    }

    /// The handle of one member, for administration.
    pub fn member(&self, member: usize) -> Member {
        self.inner.members.lock()[member].clone()
    }

    fn members(&self) -> Vec<Member> {
        self.inner.members.lock().clone()
    }

    pub fn note(&self, what: &str) {
        self.record(what);
    }

    fn record(&self, what: &str) {
        let at_ms = (openraft_now() - self.inner.start).as_millis();
        self.inner.history.lock().push(format!("{at_ms} {what}"));
    }

    pub async fn sleep(&self, duration: Duration) {
        SimRuntime::sleep(duration).await;
    }

    async fn wait_until(&self, what: &str, deadline: Duration, holds: impl Fn() -> bool) {
        let start = openraft_now();
        while !holds() {
            assert!(openraft_now() - start < deadline, "seed {}: not in time: {what}", self.inner.seed);
            SimRuntime::sleep(Duration::from_millis(5)).await;
        }
        self.record(what);
    }

    pub async fn wait_all_serving(&self, deadline: Duration) {
        let members = self.members();
        self.wait_until("all serve", deadline, || (0..members.len()).all(|member| self.serves(member))).await;
    }

    pub async fn wait_retired(&self, member: usize, deadline: Duration) {
        let ensemble = self.member(member);
        let retired = || ensemble.status().identity.state == DiskState::Retired;
        self.wait_until(&format!("member {member} knows that it is retired"), deadline, retired).await;
    }

    /// How the others reach a member.
    pub fn node(&self, member: usize) -> PeerNode {
        let PeerNode { pod, address } = address(member);
        PeerNode { pod, address }
    }

    pub async fn wait_equal(&self, deadline: Duration) {
        let members = self.members();
        let views = || {
            members.iter().map(|member| {
                let state = member.state().read();
                (state.applied(), state.digest())
            })
        };
        self.wait_until("all equal", deadline, || views().all(|view| Some(view) == views().next())).await;
    }

    pub fn serves(&self, member: usize) -> bool {
        *self.member(member).serving().borrow() == Serving::Yes
    }

    pub fn leader(&self) -> Option<usize> {
        self.members().iter().position(|member| member.status().role == Role::Leader)
    }

    pub fn propose(&self, member: usize, command: Command) -> u64 {
        self.member(member).propose(command).expect("there is room")
    }

    /// Proposes on one member and waits until that member applied it.
    pub async fn propose_and_wait(&self, member: usize, command: Command) {
        let sequence = self.propose(member, command);
        let ensemble = self.member(member);
        let applied = || {
            let state = ensemble.state().read();
            state.mark(ensemble.origin()) >= sequence
        };
        self.wait_until(&format!("member {member} applied its {sequence}"), Duration::from_secs(10), applied)
            .await;
    }

    pub fn exists(&self, member: usize, path: &str) -> bool {
        self.member(member).state().read().exists(path, &[]).is_ok()
    }

    pub fn has_session(&self, member: usize, session: SessionId) -> bool {
        self.member(member).state().read().session(session).is_some()
    }

    /// A client of `member` was heard from.
    pub fn touch(&self, member: usize, session: SessionId) {
        self.inner.observers.lock()[member].touched.lock().push(session);
    }

    pub fn cut_off(&self, member: usize) {
        self.record(&format!("member {member} is cut off"));
        self.inner.network.cut_off(member);
    }

    pub fn heal(&self) {
        self.record("the network heals");
        self.inner.network.heal();
    }
}

/// Writes down what a member applies.
struct Recorder {
    member: usize,
    start: SimInstant,
    history: Arc<Mutex<Vec<String>>>,
    touched: Mutex<Vec<SessionId>>,
}

impl Observer for Recorder {
    fn applied(&self, _: &State, applied: &Applied<'_>, own: bool) {
        let at_ms = (openraft_now() - self.start).as_millis();
        let who = if own { "its own" } else { "another's" };
        let line =
            format!("{at_ms} member {} applied {who} {} at {}", self.member, applied.sequence, applied.zxid);
        self.history.lock().push(line);
    }

    fn entry_done(&self, _: &State, _: LogIndex) {}

    fn replaced(&self, _: &State) {
        self.history.lock().push(format!("member {} installed a snapshot", self.member));
    }

    fn drain_touched(&self, out: &mut Vec<SessionId>) {
        out.append(&mut self.touched.lock());
    }
}
