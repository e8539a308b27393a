//! The write-ahead log as openraft sees it.
//!
//! An append returns as soon as the log has it and reports back once it is on disk; a vote is on disk before
//! `save_vote` returns. Both go through one queue, so they never overtake each other. Any error is fatal to Raft.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use openraft::impls::EntryPayload;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{AsyncRuntime, LogState, OptionalSend, RaftLogReader};
use tokio::sync::oneshot;
use zke_storage::{Done, Entry, LogDriver, LogId, LogReader, Payload, StorageError, Vote};

use crate::codec;
use crate::flush_watch::Flushes;
use crate::solitude::Solitude;
use crate::types::{self, RaftEntry, RaftLogId, RaftVote, TypeConfig, log_id};

/// One replication request carries at most so many bytes of entries, unless one entry alone is larger: it must fit
/// well into a heartbeat interval on an ordinary network.
const REPLICATION_BYTES_MAX: usize = 1 << 20;

/// The log of this member, driven by a thread or inline.
pub struct LogStore<L: LogDriver> {
    driver: Arc<L>,
    flushes: Arc<Flushes>,
    solitude: Arc<Solitude>,
}

impl<L: LogDriver> LogStore<L> {
    pub(crate) fn new(driver: L, flushes: Arc<Flushes>, solitude: Arc<Solitude>) -> LogStore<L> {
        LogStore { driver: Arc::new(driver), flushes, solitude }
    }

    /// Counts an operation from here until `report` is called.
    fn counted(&self, report: impl FnOnce(Result<(), StorageError>) + Send + 'static) -> Done {
        self.flushes.begin();
        let flushes = self.flushes.clone();
        Box::new(move |result| {
            flushes.end();
            report(result);
        })
    }

    /// Runs one operation and waits until it is durable.
    async fn durable(&self, operation: impl FnOnce(&L, Done)) -> io::Result<()> {
        let (done, durable) = oneshot::channel();
        let report = self.counted(move |result| {
            // Raft gave up waiting: it is shutting down.
            let _ = done.send(result);
        });
        operation(&self.driver, report);
        durable.await.map_err(|_| io::Error::other("the log's thread died"))?.map_err(io::Error::other)
    }
}

impl<R: AsyncRuntime, L: LogDriver> RaftLogStorage<TypeConfig<R>> for LogStore<L> {
    type LogReader = LogView<L>;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig<R>>> {
        let reader = self.driver.reader();
        Ok(LogState {
            last_purged_log_id: reader.purged().map(to_raft),
            last_log_id: reader.last().map(to_raft),
        })
    }

    async fn get_log_reader(&mut self) -> LogView<L> {
        LogView { reader: self.driver.reader() }
    }

    async fn save_vote(&mut self, vote: &RaftVote) -> io::Result<()> {
        #[cfg(feature = "fault")]
        if zke_tree::fault::is_on("unsynced-vote") {
            return Ok(());
        }
        let leader = vote.leader_id;
        let vote = Vote { term: leader.term, member: Some(leader.voted_for), committed: vote.committed };
        self.durable(|log, done| log.save_vote(vote, done)).await
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig<R>>) -> io::Result<()>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().map(to_entry).collect();
        let done = self.counted(move |result| callback.io_completed(result.map_err(io::Error::other)));
        if self.solitude.takes(entries.iter().map(|entry| entry.payload.bytes().len())) {
            self.driver.append_here(entries, done);
        } else {
            self.driver.append(entries, done);
        }
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<RaftLogId>) -> io::Result<()> {
        let after = last_log_id.map(from_raft);
        self.durable(|log, done| log.truncate_after(after, done)).await
    }

    async fn purge(&mut self, upto: RaftLogId) -> io::Result<()> {
        self.durable(|log, done| log.purge(from_raft(upto), done)).await
    }
}

/// Reads the log beside the one that writes it.
pub struct LogView<L: LogDriver> {
    reader: LogReader<L::Disk>,
}

impl<R: AsyncRuntime, L: LogDriver> RaftLogReader<TypeConfig<R>> for LogView<L> {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<RaftEntry>> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        read(&self.reader, start, end, usize::MAX)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<RaftEntry>> {
        read(&self.reader, start, end, REPLICATION_BYTES_MAX)
    }

    async fn read_vote(&mut self) -> io::Result<Option<RaftVote>> {
        let Some(vote) = self.reader.vote() else { return Ok(None) };
        let member = vote.member.ok_or_else(|| io::Error::other("the log holds a vote for nobody"))?;
        Ok(Some(match vote.committed {
            true => RaftVote::new_committed(vote.term, member),
            false => RaftVote::new(vote.term, member),
        }))
    }
}

fn read<D: zke_storage::Disk>(
    reader: &LogReader<D>,
    start: u64,
    end: u64,
    bytes_max: usize,
) -> io::Result<Vec<RaftEntry>> {
    let entries = reader.entries(start..end, bytes_max).map_err(io::Error::other)?;
    entries.into_iter().map(to_raft_entry).collect()
}

fn to_raft(id: LogId) -> RaftLogId {
    log_id(id.term, id.index)
}

fn from_raft(id: RaftLogId) -> LogId {
    LogId { term: codec::term_of(&id), index: id.index }
}

fn to_entry(entry: RaftEntry) -> Entry {
    let payload = match entry.payload {
        EntryPayload::Blank => Payload::Blank,
        EntryPayload::Normal(proposal) => Payload::Proposal(proposal.0),
        EntryPayload::Membership(membership) => Payload::Membership(codec::encode_membership(&membership)),
    };
    Entry { id: from_raft(entry.log_id), payload }
}

fn to_raft_entry(entry: Entry) -> io::Result<RaftEntry> {
    let payload = match entry.payload {
        Payload::Blank => EntryPayload::Blank,
        Payload::Proposal(bytes) => EntryPayload::Normal(types::Payload(bytes)),
        Payload::Membership(bytes) => {
            EntryPayload::Membership(codec::decode_membership(bytes).map_err(io::Error::other)?)
        }
    };
    Ok(RaftEntry { log_id: to_raft(entry.id), payload })
}

#[cfg(test)]
mod suite;
