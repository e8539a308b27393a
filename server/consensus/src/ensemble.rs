//! One member of an ensemble, as the daemon holds it.
//!
//! Everything the daemon asks of consensus is a method here; nothing of openraft shows. Cheap to clone.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::{AsyncRuntime, Raft};
use openraft_rt_tokio::TokioRuntime;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, Semaphore, watch};
use zke_storage::{
    Disk, DiskState, Identity, Log, LogId, LogInline, LogOptions, LogThread, Pace, Reserve, SnapshotStore,
    StorageError,
};
use zke_tree::{Command, LogIndex, Origin, State, expect_apply_level};

use crate::agreement::Divergence;
use crate::clock::Clock;
use crate::flush_watch::{Flushes, IsFull};
use crate::leader::Leading;
use crate::lease::{ServingLease, lease_ms};
use crate::link::Barriers;
use crate::log_size::LogSize;
use crate::log_store::LogStore;
use crate::member::{Member, Refusal};
use crate::network::Network;
use crate::options::Options;
use crate::peer::{FrameStream, Hello, Transport};
use crate::proposals::Proposals;
use crate::proposer::Busy;
use crate::replica::{Observer, Replica};
use crate::serving::{NotServing, Serving};
use crate::snapshots::{self, Snapshots};
use crate::solitude::Solitude;
use crate::space::{self, Space};
use crate::state_machine::StateMachine;
use crate::types::{RaftLogId, TypeConfig};
use crate::worker::Worker;

/// How often the serving state is looked at besides the events that change it: the end of a lease is no event.
const SERVING_REVIEW_INTERVAL: Duration = Duration::from_millis(25);
/// How often it is looked whether Raft stopped. It answers nobody by then, so a little later is soon enough.
const FAILURE_LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// A member that has not caught up asks for a barrier again after this long without an answer.
const CATCH_UP_RETRY: Duration = Duration::from_millis(500);

/// Where blocking work runs.
pub enum Drivers {
    /// The log, apply and snapshots each have a thread. For production.
    Threads,
    /// All inline, in the thread of the caller; the log's flushes at the pace of its disk. For simulation.
    Inline(Pace),
}

/// Everything that one member is made of.
pub struct Setup<D: Disk> {
    /// Holds the identity and snapshots.
    pub disk: D,
    /// Holds the log; may be the same.
    pub log_disk: D,
    /// Length of the log's segment files.
    pub segment_bytes: u64,
    /// How others name this member: the pod's name, or `server.N`.
    pub pod: String,
    /// Without an operator a blank disk joins the ensemble whose membership names its id.
    pub joins_by_itself: bool,
    /// Random, and not 0: the id of this disk if it has none yet.
    pub fresh_member_id: u64,
    pub options: Options,
    pub drivers: Drivers,
    pub transport: Arc<dyn Transport>,
    pub clock: Arc<dyn Clock>,
    pub observer: Arc<dyn Observer>,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot open the data directory")]
    Storage(#[from] StorageError),
    #[error("cannot start a worker thread")]
    Worker(#[source] io::Error),
    #[error("cannot read back the state of this member")]
    Recovery(#[source] io::Error),
    #[error("cannot start Raft")]
    Raft(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A handle to the member that runs in this process.
pub struct Ensemble<R: AsyncRuntime = TokioRuntime> {
    pub(crate) inner: Arc<Inner<R>>,
}

impl<R: AsyncRuntime> Clone for Ensemble<R> {
    fn clone(&self) -> Self {
        Ensemble { inner: self.inner.clone() }
    }
}

pub(crate) struct Inner<R: AsyncRuntime> {
    pub(crate) raft: Raft<TypeConfig<R>, StateMachine>,
    pub(crate) member: Arc<Member>,
    pub(crate) replica: Arc<Replica>,
    pub(crate) proposals: Arc<Proposals>,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: Options,
    pub(crate) lease_ms: u64,
    pub(crate) lease: ServingLease,
    pub(crate) solitude: Arc<Solitude>,
    pub(crate) space: Space,
    pub(crate) divergence: Divergence,
    /// Comparisons of states that did not agree, while this member led.
    pub(crate) disagreements: AtomicU64,
    pub(crate) barriers: Barriers,
    pub(crate) leading: Mutex<Option<Leading<R>>>,
    pub(crate) leading_changed: Notify,
    pub(crate) serving: watch::Sender<Serving>,
    /// Number of snapshot installs + 1 at the last barrier that was reached; 0 before the first.
    caught_up: AtomicU64,
    stopping: AtomicBool,
    /// Held by whoever takes an archive or restores one.
    pub(crate) archive_turn: Arc<Semaphore>,
    /// Told once the process has to start anew, on a disk that is another member then.
    pub(crate) restart: Notify,
    /// Told once the disk hung under this leader and it heard of no other. Where Raft itself waits for the disk, to save a
    /// vote, it cannot hear of one.
    pub(crate) hung: Notify,
}

impl<R: AsyncRuntime> Ensemble<R> {
    /// Opens the disk, loads the newest snapshot and starts the member. On a blank disk it waits to be brought into
    /// an ensemble.
    pub async fn start<D: Disk>(setup: Setup<D>) -> Result<Ensemble<R>, StartError> {
        #[cfg(feature = "fault")]
        let setup = crate::fault::setup(setup);
        let Setup { disk, log_disk, segment_bytes, drivers, options, .. } = setup;
        let mut identity = Identity::load_or_mint(&disk, || setup.fresh_member_id)?;
        identity.expect_agreement()?;
        if identity.state == DiskState::Renewing {
            tracing::warn!(member = %identity.member, "setting the data of a retired member aside");
            identity = identity.renew(&disk, &log_disk, || setup.fresh_member_id)?;
        }
        let store = SnapshotStore::open(disk.clone(), snapshots::KEEP)?;
        match identity.state {
            DiskState::Restoring => {
                identity = identity.finish_restoration(&store, &disk, &log_disk, segment_bytes)?;
                tracing::info!(member = %identity.member, "begins an ensemble with the data of an archive");
            }
            // Of a restoration that a crash ended.
            DiskState::Blank => store.discard_staged()?,
            _ => {}
        }
        match identity.begin_incarnation(&disk) {
            Err(error) if error.is_full() => {
                make_room(&store, log_disk.clone(), segment_bytes)?;
                identity.begin_incarnation(&disk)?;
            }
            begun => begun?,
        }
        let must_exist = identity.has_log();
        let origin = Origin { member: identity.member, incarnation: identity.incarnation };
        let identity_disk = disk.clone();
        let keep = Box::new(move |identity: &Identity| identity.save(&identity_disk));
        let member = Arc::new(Member::new(
            setup.pod,
            setup.joins_by_itself,
            options.newest_apply_level,
            identity,
            keep,
        ));

        let (snapshot_worker, space_worker) = (worker(&drivers, "snapshot")?, worker(&drivers, "space")?);
        let transfer_worker = worker(&drivers, "transfer")?;
        let snapshots = Arc::new(Snapshots::new(store.clone(), snapshot_worker, transfer_worker));
        let loaded = snapshots.load_newest().map_err(StartError::Recovery)?;
        let (state, applied) = loaded.unwrap_or_else(|| (State::new(), Default::default()));
        expect_apply_level(state.apply_level(), options.newest_apply_level)
            .map_err(|error| StartError::Recovery(io::Error::other(error)))?;
        let proposals = Arc::new(Proposals::new(origin));
        let replica = Arc::new(Replica::new(
            state,
            applied,
            origin,
            options.newest_apply_level,
            proposals.clone(),
            setup.observer,
        ));
        let solitude = Arc::new(Solitude::default());
        let apply = worker(&drivers, "apply")?;
        let state_machine = StateMachine::new(replica.clone(), snapshots.clone(), apply, solitude.clone());

        let network = Network::<R>::new(member.clone(), setup.transport.clone());
        let config = Arc::new(options.raft_config().map_err(|error| StartError::Raft(Box::new(error)))?);
        let log_options = LogOptions { must_exist, segment_bytes, ..LogOptions::new(origin.member) };
        let (log, recovered) = Log::open(log_disk, log_options)?;
        #[cfg(feature = "fault")]
        let log = crate::fault::opened(log)?;
        tracing::info!(member = %origin.member, incarnation = origin.incarnation, ?recovered, "opened the log");
        expect_snapshot(recovered.purged, replica.applied().0)?;
        let id = origin.member.0;
        let flushes = Arc::new(Flushes::default());
        let look = space::look_at(disk, store, log.reserve());
        let log_size = LogSize::new(log.reader(), segment_bytes, options.snapshot_log_bytes);
        let reader = log.reader();
        let is_full: IsFull = Box::new(move || reader.waits_for_space());
        let raft = match drivers {
            Drivers::Threads => {
                let driver = LogThread::spawn(log).map_err(StartError::Worker)?;
                let store = LogStore::new(driver, flushes.clone(), solitude.clone());
                Raft::new(id, config, network, store, state_machine).await
            }
            Drivers::Inline(pace) => {
                let driver = LogInline::paced(log, pace);
                let store = LogStore::new(driver, flushes.clone(), solitude.clone());
                Raft::new(id, config, network, store, state_machine).await
            }
        };
        let raft = raft.map_err(|error| StartError::Raft(Box::new(error)))?;
        // Nobody answers a retired id, so it must not ask for votes for ever.
        raft.runtime_config().elect(!member.is_retired());
        let (serving, _) = watch::channel(Serving::No(NotServing::CatchingUp));
        let inner = Arc::new(Inner {
            raft,
            member,
            replica,
            proposals,
            snapshots,
            transport: setup.transport,
            clock: setup.clock,
            lease_ms: lease_ms(options.session_timeout_ms_min),
            options,
            lease: ServingLease::default(),
            solitude,
            space: Space::default(),
            divergence: Divergence::default(),
            disagreements: AtomicU64::new(0),
            barriers: Barriers::default(),
            leading: Mutex::new(None),
            leading_changed: Notify::new(),
            serving,
            caught_up: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            archive_turn: Arc::new(Semaphore::new(1)),
            restart: Notify::new(),
            hung: Notify::new(),
        });
        detach::<R>(inner.clone().run_leader());
        detach::<R>(inner.clone().run_links());
        detach::<R>(inner.clone().run_serving());
        detach::<R>(inner.clone().run_flush_watch(flushes, is_full));
        detach::<R>(inner.clone().run_space(look, space_worker));
        detach::<R>(inner.clone().run_log_size(log_size));
        Ok(Ensemble { inner })
    }

    /// The replicated state, for reads.
    pub fn state(&self) -> &RwLock<State> {
        self.inner.replica.state()
    }

    pub fn origin(&self) -> Origin {
        self.inner.member.origin()
    }

    /// Hands a command to the ensemble; its outcome comes to the observer under the returned sequence, each one more
    /// than the one before. Never blocks. `Busy`: wait for [`Ensemble::room`].
    pub fn propose(&self, command: Command) -> Result<u64, Busy> {
        self.inner.proposals.propose(command)
    }

    pub async fn room(&self) {
        self.inner.proposals.room().await;
    }

    /// The index at which everything acknowledged before this call is in the log. Asked again after a lost leader, for
    /// as long as this member may serve.
    pub async fn read_barrier(&self) -> Result<LogIndex, NotServing> {
        #[cfg(feature = "fault")]
        if zke_tree::fault::is_on("idle-sync") {
            return Ok(LogIndex(self.inner.replica.applied_index()));
        }
        let answer = self.inner.barriers.ask();
        let mut serving = self.serving();
        let refused = async {
            loop {
                if let Serving::No(reason) = *serving.borrow_and_update() {
                    return reason;
                }
                if serving.changed().await.is_err() {
                    return NotServing::Stopping;
                }
            }
        };
        tokio::select! {
            biased;
            index = answer => index.map(LogIndex).map_err(|_| NotServing::Stopping),
            reason = refused => Err(reason),
        }
    }

    /// Waits until the entry at `index` is applied here.
    pub async fn wait_applied(&self, index: LogIndex) {
        self.inner.replica.wait_applied(index.0).await;
    }

    /// Whether the serving lease holds at this moment. [`Ensemble::serving`] tells of its end a little later, and much
    /// later in a process that was stopped meanwhile: so a read asks for itself.
    pub fn lease_holds(&self) -> bool {
        self.inner.lease_holds()
    }

    pub fn serving(&self) -> watch::Receiver<Serving> {
        self.inner.serving.subscribe()
    }

    /// Checks a stream that another member opened; `certified_pod` is the pod its certificate names, if it has one.
    /// On success returns the future that serves it.
    pub fn accept(
        &self,
        hello: Hello,
        certified_pod: Option<&str>,
        stream: FrameStream,
    ) -> Result<impl Future<Output = ()> + Send + 'static, Refusal> {
        self.inner.welcome(&hello, certified_pod)?;
        Ok(self.inner.clone().serve_stream(hello, stream))
    }

    /// Completes when this member cannot go on: a failed disk, one that hung while this member led, a state that is not
    /// the others', or an entry that this binary cannot read. The process has to end then.
    pub async fn failed(&self) -> String {
        tokio::select! {
            reason = self.raft_stopped() => reason,
            () = self.inner.hung.notified() => {
                "the disk did not finish a flush for three seconds, and no other leader was heard of".to_owned()
            }
            index = self.inner.divergence.found() => {
                self.inner.leave_diverged().await;
                format!("behind entry {} a majority of the members has another state than this one", index.0)
            }
        }
    }

    async fn raft_stopped(&self) -> String {
        // Not by waiting for changes: these metrics change with every write, and waking a thread costs more than a look.
        let metrics = self.inner.raft.metrics();
        loop {
            if let Err(fatal) = &metrics.borrow_watched().running_state {
                return fatal.to_string();
            }
            R::sleep(FAILURE_LOOK_INTERVAL).await;
        }
    }

    /// Completes when this process has to start anew: its disk was retired and was asked to join again, or it was
    /// blank and was given the data of an archive.
    pub async fn restart_wanted(&self) {
        self.inner.restart.notified().await;
    }

    /// Stops the member. Clients have to be gone by now.
    pub async fn shutdown(&self) {
        self.inner.stopping.store(true, Ordering::Release);
        self.inner.review_serving();
        if let Err(error) = self.inner.raft.shutdown().await {
            tracing::warn!(%error, "Raft did not stop cleanly");
        }
    }
}

impl<R: AsyncRuntime> Inner<R> {
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(crate) fn has_caught_up(&self) -> bool {
        self.caught_up.load(Ordering::Acquire) == self.replica.installs() + 1
    }

    /// Runs for the life of the process: takes the first barrier after a start or an installed snapshot, notices the
    /// end of leases, and that this member was retired.
    async fn run_serving(self: Arc<Self>) {
        while !self.is_stopping() {
            if self.has_caught_up() {
                R::sleep(SERVING_REVIEW_INTERVAL).await;
            } else {
                self.catch_up().await;
            }
            self.notice_retirement();
            self.review_serving();
        }
    }

    async fn catch_up(&self) {
        let installs = self.replica.installs();
        let reached = async {
            let index = self.barriers.ask().await.ok()?;
            self.replica.wait_applied(index).await;
            Some(())
        };
        if let Ok(Some(())) = R::timeout(CATCH_UP_RETRY, reached).await {
            self.caught_up.store(installs + 1, Ordering::Release);
        }
    }

    fn notice_retirement(&self) {
        if self.member.is_retired() {
            // Perhaps another member said so.
            self.raft.runtime_config().elect(false);
            return;
        }
        let member = self.member.id();
        if !self.replica.state().read().is_retired(member) {
            return;
        }
        match self.member.retire() {
            Ok(()) => tracing::warn!(%member, "this disk was retired from its ensemble"),
            Err(error) => tracing::error!(%error, "cannot record that this disk was retired"),
        }
    }
}

/// What a start has to write is small, but a full volume refuses that too.
fn make_room<D: Disk>(store: &SnapshotStore<D>, log_disk: D, segment_bytes: u64) -> Result<(), StorageError> {
    tracing::warn!("the volume is full: starting on what was kept in reserve");
    store.keep_newest_only()?;
    Reserve::open(log_disk, segment_bytes)?.give_back()?;
    Ok(())
}

/// The log may only have been purged up to what a snapshot holds: else entries in between are lost, and what was
/// applied from the rest would be a state that never was.
fn expect_snapshot(purged: Option<LogId>, applied: Option<RaftLogId>) -> Result<(), StorageError> {
    let Some(purged) = purged else { return Ok(()) };
    if applied.is_some_and(|applied| applied.index >= purged.index) {
        return Ok(());
    }
    Err(StorageError::Missing { file: format!("the snapshot up to entry {}", purged.index) })
}

/// Spawns a task that ends by itself, with its stream, its term or the process.
pub(crate) fn detach<R: AsyncRuntime>(task: impl Future<Output = ()> + Send + 'static) {
    drop(R::spawn(task));
}

fn worker(drivers: &Drivers, name: &str) -> Result<Worker, StartError> {
    match drivers {
        Drivers::Threads => Worker::thread(name).map_err(StartError::Worker),
        Drivers::Inline(_) => Ok(Worker::Inline),
    }
}
