//! openraft's own suite for stores, against the log, the replica and the snapshots of production: real files, real
//! fdatasync, real threads; and against the drivers of the simulation.
//!
//! The suite begins some logs at entry 1, or later. A real log begins at entry 0, or behind a snapshot, and ours
//! refuses anything else, so [`Begun`] writes what is missing and shows nothing of it. The suite also cuts behind the
//! end, which ours refuses too and [`Begun`] leaves out.

use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::Arc;

use openraft::impls::EntryPayload;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{LogState, OptionalSend, RaftLogReader, StorageError};
use openraft_rt_tokio::TokioRuntime;
use tempfile::TempDir;
use zke_storage::{Log, LogDriver, LogInline, LogOptions, LogThread, RealDisk, SnapshotStore};
use zke_tree::{Applied, LogIndex, MemberId, Origin, State};
use zke_wire::SessionId;

use super::{LogStore, LogView};
use crate::proposals::Proposals;
use crate::replica::{Observer, Replica};
use crate::snapshots::{self, Snapshots};
use crate::state_machine::StateMachine;
use crate::types::{RaftEntry, RaftLogId, RaftVote, TypeConfig, log_id};
use crate::worker::Worker;

type Config = TypeConfig<TokioRuntime>;

/// Small, so that the suite crosses from one segment into the next.
const SEGMENT_BYTES: u64 = 64 << 10;
const MEMBER: MemberId = MemberId(1);

/// Nobody watches.
struct Nobody;

impl Observer for Nobody {
    fn applied(&self, _: &State, _: &Applied<'_>, _: bool) {}
    fn entry_done(&self, _: &State, _: LogIndex) {}
    fn replaced(&self, _: &State) {}
    fn drain_touched(&self, _: &mut Vec<SessionId>) {}
}

/// Makes each test of the suite a store on an empty disk of its own, driven as the function says.
struct OnDisk<L> {
    drive: fn(Log<RealDisk>) -> L,
    worker: fn() -> Worker,
}

impl<L: LogDriver> StoreBuilder<Config, Begun<L>, StateMachine, TempDir> for OnDisk<L> {
    async fn build(&self) -> Result<(TempDir, Begun<L>, StateMachine), StorageError<Config>> {
        let folder = TempDir::new().expect("a folder for this test");
        let disk = RealDisk::open(folder.path()).expect("the folder is there");
        let options = LogOptions { segment_bytes: SEGMENT_BYTES, ..LogOptions::new(MEMBER) };
        let (log, _) = Log::open(disk.clone(), options).expect("an empty disk opens");
        let snapshots = SnapshotStore::open(disk, snapshots::KEEP).expect("an empty disk opens");
        let snapshots = Arc::new(Snapshots::new(snapshots, (self.worker)(), (self.worker)()));
        let origin = Origin { member: MEMBER, incarnation: 1 };
        let proposals = Arc::new(Proposals::new(origin));
        let replica = Replica::new(State::new(), Default::default(), origin, 1, proposals, Arc::new(Nobody));
        let replica = Arc::new(replica);
        let log = LogStore::new((self.drive)(log), Arc::default(), Arc::default());
        let log = Begun { log, first: 0 };
        Ok((folder, log, StateMachine::new(replica, snapshots, (self.worker)(), Arc::default())))
    }
}

/// A log whose entries before `first` were never given to it.
struct Begun<L: LogDriver> {
    log: LogStore<L>,
    first: u64,
}

/// Type inference needs to know for which runtime.
fn store<L: LogDriver>(log: &mut LogStore<L>) -> &mut impl RaftLogStorage<Config, LogReader = LogView<L>> {
    log
}

impl<L: LogDriver> RaftLogStorage<Config> for Begun<L> {
    type LogReader = BegunView<L>;

    async fn get_log_state(&mut self) -> io::Result<LogState<Config>> {
        store(&mut self.log).get_log_state().await
    }

    async fn get_log_reader(&mut self) -> BegunView<L> {
        BegunView { view: store(&mut self.log).get_log_reader().await, first: self.first }
    }

    async fn save_vote(&mut self, vote: &RaftVote) -> io::Result<()> {
        store(&mut self.log).save_vote(vote).await
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Config>) -> io::Result<()>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut given: Vec<_> = entries.into_iter().collect();
        let begun = self.get_log_state().await?.last_log_id.is_some();
        if let Some(first) = given.first().map(|entry| entry.log_id.index).filter(|_| !begun) {
            self.first = first;
            let blank = |index| RaftEntry { log_id: log_id(0, index), payload: EntryPayload::Blank };
            given.splice(..0, (0..first).map(blank));
        }
        store(&mut self.log).append(given, callback).await
    }

    async fn truncate_after(&mut self, last: Option<RaftLogId>) -> io::Result<()> {
        if last > self.get_log_state().await?.last_log_id {
            return Ok(());
        }
        store(&mut self.log).truncate_after(last).await
    }

    async fn purge(&mut self, upto: RaftLogId) -> io::Result<()> {
        store(&mut self.log).purge(upto).await
    }
}

struct BegunView<L: LogDriver> {
    view: LogView<L>,
    first: u64,
}

impl<L: LogDriver> BegunView<L> {
    fn view(&mut self) -> &mut impl RaftLogReader<Config> {
        &mut self.view
    }
}

impl<L: LogDriver> RaftLogReader<Config> for BegunView<L> {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<RaftEntry>> {
        let first = self.first;
        let mut entries = self.view().try_get_log_entries(range).await?;
        entries.retain(|entry| entry.log_id.index >= first);
        Ok(entries)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<RaftEntry>> {
        self.view().limited_get_log_entries(start, end).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<RaftVote>> {
        self.view().read_vote().await
    }
}

/// All tests of `Suite::test_all`, but for `get_initial_state_log_ids`: that one purges entries no snapshot holds and
/// wants an empty snapshot then, which here is damage and refused at a start.
async fn run_suite<L: LogDriver>(on_disk: OnDisk<L>) {
    macro_rules! run {
        ($($test:ident)*) => {$(
            let (_folder, log, replica) = on_disk.build().await.expect("an empty store");
            let passed = Suite::<Config, Begun<L>, StateMachine, OnDisk<L>, TempDir>::$test(log, replica).await;
            passed.expect(stringify!($test));
        )*};
    }
    run! {
        last_membership_in_log_initial
        last_membership_in_log
        last_membership_in_log_multi_step
        get_membership_initial
        get_membership_from_log_and_empty_sm
        get_membership_from_empty_log_and_sm
        get_membership_from_log_le_sm_last_applied
        get_membership_from_log_gt_sm_last_applied_1
        get_membership_from_log_gt_sm_last_applied_2
        get_initial_state_without_init
        get_initial_state_membership_from_empty_log_and_sm
        get_initial_state_membership_from_sm_inlog_is_smaller
        get_initial_state_membership_from_log_insm_is_smaller
        get_initial_state_with_state
        get_initial_state_last_log_gt_sm
        get_initial_state_last_log_lt_sm
        get_initial_state_inverted_log_order
        get_initial_state_conflict_at_same_index
        get_initial_state_re_apply_committed
        save_vote
        get_log_entries
        limited_get_log_entries
        leader_bounded_stream
        entries_stream
        try_get_log_entry
        log_reader_reads_new_entries
        initial_logs
        get_log_state
        get_log_id
        last_id_in_log
        last_applied_state
        purge_logs_upto_0
        purge_logs_upto_5
        purge_logs_upto_20
        delete_logs_after_11
        delete_logs_after_5
        delete_logs_after_0
        delete_logs_after_none
        append_to_log
        snapshot_meta
        snapshot_meta_optional
        apply_single
        apply_multiple
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_threads_of_production_pass() {
    let drive = |log| LogThread::spawn(log).expect("a thread starts");
    let worker = || Worker::thread("suite").expect("a thread starts");
    run_suite(OnDisk { drive, worker }).await;
}

#[tokio::test]
async fn the_drivers_of_the_simulation_pass() {
    run_suite(OnDisk { drive: LogInline::new, worker: || Worker::Inline }).await;
}
