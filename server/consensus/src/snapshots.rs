//! Snapshots of the replicated state: built beside apply, loaded at a start, sent to and received from members.
//!
//! The file format and its durability are storage's; the content is the state machine's. Here the two meet openraft.

use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use openraft::Snapshot;
use zke_storage::{
    Disk, DiskFile, LogId, SnapshotFingerprint, SnapshotMeta, SnapshotReader, SnapshotReceiver,
    SnapshotSource, SnapshotStore, SnapshotWriter,
};
use zke_tree::State;
use zke_wire::Zxid;

use crate::codec;
use crate::replica::Replica;
use crate::transfer_frame::Header;
use crate::types::{
    CommittedLeaderId, PeerNode, RaftLogId, RaftMembership, RaftSnapshotMeta, RaftStoredMembership, log_id,
};
use crate::worker::Worker;

/// Snapshots kept on disk: the newest, and two more for whoever is reading them or looks into a problem.
pub const KEEP: usize = 3;
/// Bytes encoded while the state's write lock is held: below a millisecond.
const STEP_BYTES: usize = 256 << 10;
/// Bytes of one frame to another member.
const CHUNK_BYTES: usize = 256 << 10;

pub(crate) type RaftSnapshot = Snapshot<CommittedLeaderId, u64, PeerNode, SnapshotHandle>;
/// The state, the last entry in it, and the membership in force there.
pub(crate) type Loaded = (State, (Option<RaftLogId>, RaftStoredMembership));

/// The snapshots on this member's disk.
pub struct Snapshots {
    files: Arc<dyn Files>,
    worker: Worker,
    /// Another one: what moves between members must not wait until a snapshot is built.
    transfers: Worker,
}

impl Snapshots {
    pub fn new<D: Disk>(store: SnapshotStore<D>, worker: Worker, transfers: Worker) -> Snapshots {
        Snapshots { files: Arc::new(store), worker, transfers }
    }

    /// The newest snapshot, every byte of it checked; `None` if there is none.
    pub fn load_newest(&self) -> io::Result<Option<Loaded>> {
        let Some(last) = self.files.newest()? else { return Ok(None) };
        let (meta, content) = self.files.read(last)?;
        let meta = to_raft(&meta)?;
        Ok(Some((restore(content)?, (meta.last_log_id, meta.last_membership))))
    }

    /// The newest snapshot, to be sent; `None` if there is none.
    ///
    /// openraft asks again for each attempt. As long as no newer one was taken it gets the same file, and the transfer
    /// goes on. If one was, what is on its way is given up: the log before the newer one is purged, so that a member with
    /// the older one would have to be sent the newer one all the same. A stream that does not break ends with the file it
    /// began with.
    pub(crate) fn current(&self) -> io::Result<Option<RaftSnapshot>> {
        let Some(last) = self.files.newest()? else { return Ok(None) };
        let (meta, _) = self.files.read(last)?;
        Ok(Some(Snapshot { meta: to_raft(&meta)?, snapshot: self.handle(last) }))
    }

    /// Writes a snapshot of the replica as it is now, while entries go on being applied.
    pub(crate) async fn build(&self, replica: Arc<Replica>) -> io::Result<RaftSnapshot> {
        let files = self.files.clone();
        let build = move || {
            let mut begun = Begun::now(&replica)?;
            let meta = begun.meta.clone();
            let last = from_raft(&meta)?;
            files.write(&last, &mut |out| begun.next(&replica, out))?;
            Ok::<_, io::Error>((meta, last.last))
        };
        let (meta, last) = self.worker.run(build).await??;
        Ok(Snapshot { meta, snapshot: self.handle(last) })
    }

    /// Writes the same to a file that goes with its reader, and that Raft never hears of.
    pub(crate) async fn capture(&self, replica: Arc<Replica>) -> io::Result<Captured> {
        let files = self.files.clone();
        let capture = move || {
            let mut begun = Begun::now(&replica)?;
            let (meta, zxid) = (from_raft(&begun.meta)?, begun.zxid);
            let (content, content_bytes) =
                files.write_nameless(&meta, &mut |out| begun.next(&replica, out))?;
            Ok(Captured { last: meta.last, zxid, content, content_bytes })
        };
        self.worker.run(capture).await?
    }

    /// Writes a state that is not this member's yet, for its next start.
    pub(crate) fn stage(&self, meta: &RaftSnapshotMeta, mut state: State) -> io::Result<()> {
        let mut snapshot = state.snapshot_begin();
        self.files.stage(&from_raft(meta)?, &mut |out| state.snapshot_next(&mut snapshot, out, STEP_BYTES))
    }

    /// Removes all but the newest, for room.
    pub(crate) async fn keep_newest_only(&self) -> io::Result<()> {
        let files = self.files.clone();
        self.worker.run(move || files.keep_newest_only()).await?
    }

    /// Where whatever writes snapshots runs.
    pub(crate) fn worker(&self) -> &Worker {
        &self.worker
    }

    /// Begins to store a snapshot that another member sends, or goes on with it.
    pub(crate) async fn receive(&self, header: &Header) -> io::Result<Incoming> {
        let last =
            header.meta.last_log_id.as_ref().ok_or_else(|| io::Error::other("a snapshot of nothing"))?;
        let Header { file_bytes, crc, .. } = *header;
        let of = SnapshotFingerprint { last: from_raft_id(last), file_bytes, crc };
        let files = self.files.clone();
        let file = self.transfers.run(move || files.receive(of)).await??;
        Ok(Incoming { file, snapshot: self.handle(of.last) })
    }

    fn handle(&self, last: LogId) -> SnapshotHandle {
        SnapshotHandle { files: self.files.clone(), transfers: self.transfers.clone(), last }
    }
}

/// A snapshot being made of the replica.
struct Begun {
    snapshot: zke_tree::Snapshot,
    meta: RaftSnapshotMeta,
    zxid: Zxid,
}

impl Begun {
    fn now(replica: &Replica) -> io::Result<Begun> {
        let mut state = replica.state().write();
        let (Some(last), last_membership) = replica.applied() else {
            return Err(io::Error::other("nothing is applied yet: there is nothing to take a snapshot of"));
        };
        let meta = RaftSnapshotMeta { last_log_id: Some(last), last_membership };
        Ok(Begun { snapshot: state.snapshot_begin(), meta, zxid: state.last_zxid() })
    }

    fn next(&mut self, replica: &Replica, out: &mut Vec<u8>) -> bool {
        replica.state().write().snapshot_next(&mut self.snapshot, out, STEP_BYTES)
    }
}

/// A snapshot that exists only as long as it is read.
pub(crate) struct Captured {
    pub last: LogId,
    pub zxid: Zxid,
    pub content: Box<dyn Read + Send>,
    pub content_bytes: u64,
}

/// One snapshot on this member's disk.
#[derive(Clone)]
pub struct SnapshotHandle {
    files: Arc<dyn Files>,
    transfers: Worker,
    last: LogId,
}

impl SnapshotHandle {
    pub(crate) fn load(&self) -> io::Result<State> {
        restore(self.files.read(self.last)?.1)
    }

    /// Opens the file to send it.
    pub(crate) async fn outgoing(&self) -> io::Result<Outgoing> {
        let (files, last) = (self.files.clone(), self.last);
        let open = move || {
            let file = files.source(last)?;
            Ok::<_, io::Error>((file.fingerprint()?, file))
        };
        let (fingerprint, file) = self.transfers.run(open).await??;
        Ok(Outgoing { file, fingerprint, transfers: self.transfers.clone() })
    }
}

/// A snapshot that is being sent. It can be read to its end also when newer ones have taken its place.
pub(crate) struct Outgoing {
    file: Arc<dyn Sending>,
    fingerprint: SnapshotFingerprint,
    transfers: Worker,
}

impl Outgoing {
    pub(crate) fn fingerprint(&self) -> SnapshotFingerprint {
        self.fingerprint
    }

    /// The next bytes of the file, as many as go into a frame; empty at the end.
    pub(crate) async fn piece(&self, offset: u64) -> io::Result<Bytes> {
        let file = self.file.clone();
        let piece = self.transfers.run(move || file.chunk(offset, CHUNK_BYTES)).await??;
        Ok(Bytes::from(piece))
    }
}

/// A snapshot that is being received. Dropped, it leaves what is there for the next transfer of the same.
pub(crate) struct Incoming {
    file: Box<dyn Receiving>,
    snapshot: SnapshotHandle,
}

impl Incoming {
    /// Of the byte that has to come next.
    pub(crate) fn offset(&self) -> u64 {
        self.file.offset()
    }

    pub(crate) async fn write(self, bytes: Bytes) -> io::Result<Incoming> {
        let Incoming { mut file, snapshot } = self;
        let write = move || file.write(&bytes).map(|()| file);
        let file = snapshot.transfers.run(write).await??;
        Ok(Incoming { file, snapshot })
    }

    /// Checks what was received, as a whole, and keeps it if it is what the sender announced.
    pub(crate) async fn finish(self, announced: &RaftSnapshotMeta) -> io::Result<SnapshotHandle> {
        let Incoming { file, snapshot } = self;
        let announced = announced.clone();
        snapshot.transfers.run(move || file.finish(&announced)).await??;
        Ok(snapshot)
    }
}

/// A [`SnapshotSource`] of any kind of disk.
trait Sending: Send + Sync {
    fn fingerprint(&self) -> io::Result<SnapshotFingerprint>;
    fn chunk(&self, offset: u64, bytes_max: usize) -> io::Result<Vec<u8>>;
}

/// A [`SnapshotReceiver`] of any kind of disk.
trait Receiving: Send {
    fn offset(&self) -> u64;
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    fn finish(self: Box<Self>, announced: &RaftSnapshotMeta) -> io::Result<()>;
}

/// Appends the next bytes of a snapshot; true when there are no more.
type Next<'a> = &'a mut dyn FnMut(&mut Vec<u8>) -> bool;

/// A [`SnapshotStore`] of any kind of disk.
trait Files: Send + Sync {
    fn newest(&self) -> io::Result<Option<LogId>>;
    fn read(&self, last: LogId) -> io::Result<(SnapshotMeta, Box<dyn Read>)>;
    fn source(&self, last: LogId) -> io::Result<Arc<dyn Sending>>;
    /// Writes what `next` appends to its buffer until it says that it is done.
    fn write(&self, meta: &SnapshotMeta, next: Next<'_>) -> io::Result<()>;
    /// Writes the same under a name that does not count yet; what was staged before goes.
    fn stage(&self, meta: &SnapshotMeta, next: Next<'_>) -> io::Result<()>;
    /// Writes the same without a name. Returns the content and how many bytes it is.
    fn write_nameless(&self, meta: &SnapshotMeta, next: Next<'_>) -> io::Result<(Box<dyn Read + Send>, u64)>;
    fn receive(&self, of: SnapshotFingerprint) -> io::Result<Box<dyn Receiving>>;
    fn keep_newest_only(&self) -> io::Result<()>;
}

impl<D: Disk> Files for SnapshotStore<D> {
    fn newest(&self) -> io::Result<Option<LogId>> {
        Ok(self.list().map_err(io::Error::other)?.first().copied())
    }

    fn read(&self, last: LogId) -> io::Result<(SnapshotMeta, Box<dyn Read>)> {
        let reader: SnapshotReader<D::File> = SnapshotStore::read(self, last).map_err(io::Error::other)?;
        Ok((reader.meta().clone(), Box::new(reader)))
    }

    fn source(&self, last: LogId) -> io::Result<Arc<dyn Sending>> {
        let source: SnapshotSource<D::File> = SnapshotStore::source(self, last).map_err(io::Error::other)?;
        Ok(Arc::new(source))
    }

    fn write(&self, meta: &SnapshotMeta, next: Next<'_>) -> io::Result<()> {
        write_all(self, meta, next)?.finish().map_err(io::Error::other)
    }

    fn stage(&self, meta: &SnapshotMeta, next: Next<'_>) -> io::Result<()> {
        self.discard_staged().map_err(io::Error::other)?;
        write_all(self, meta, next)?.finish_staged().map_err(io::Error::other)
    }

    fn write_nameless(&self, meta: &SnapshotMeta, next: Next<'_>) -> io::Result<(Box<dyn Read + Send>, u64)> {
        let written = write_all(self, meta, next)?.finish_nameless();
        let (reader, content_bytes) = written.map_err(io::Error::other)?;
        Ok((Box::new(reader), content_bytes))
    }

    fn receive(&self, of: SnapshotFingerprint) -> io::Result<Box<dyn Receiving>> {
        let receiver: SnapshotReceiver<D> = SnapshotStore::receive(self, of).map_err(io::Error::other)?;
        Ok(Box::new(receiver))
    }

    fn keep_newest_only(&self) -> io::Result<()> {
        SnapshotStore::keep_newest_only(self).map_err(io::Error::other)
    }
}

impl<F: DiskFile> Sending for SnapshotSource<F> {
    fn fingerprint(&self) -> io::Result<SnapshotFingerprint> {
        SnapshotSource::fingerprint(self).map_err(io::Error::other)
    }

    fn chunk(&self, offset: u64, bytes_max: usize) -> io::Result<Vec<u8>> {
        SnapshotSource::chunk(self, offset, bytes_max).map_err(io::Error::other)
    }
}

impl<D: Disk> Receiving for SnapshotReceiver<D> {
    fn offset(&self) -> u64 {
        SnapshotReceiver::offset(self)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        SnapshotReceiver::write(self, bytes).map_err(io::Error::other)
    }

    fn finish(self: Box<Self>, announced: &RaftSnapshotMeta) -> io::Result<()> {
        let received = SnapshotReceiver::verify(*self).map_err(io::Error::other)?;
        if to_raft(received.meta())? != *announced {
            received.discard();
            return Err(io::Error::other("the leader sent another snapshot than it announced"));
        }
        received.publish().map(|_| ()).map_err(io::Error::other)
    }
}

fn write_all<D: Disk>(
    store: &SnapshotStore<D>,
    meta: &SnapshotMeta,
    next: Next<'_>,
) -> io::Result<SnapshotWriter<D>> {
    let mut writer = store.create(meta).map_err(io::Error::other)?;
    let mut buffer = Vec::with_capacity(STEP_BYTES + STEP_BYTES / 4);
    loop {
        let done = next(&mut buffer);
        writer.write_all(&buffer)?;
        buffer.clear();
        if done {
            return Ok(writer);
        }
    }
}

pub(crate) fn restore(mut content: impl Read) -> io::Result<State> {
    let mut reader = zke_tree::SnapshotReader::new();
    let mut buffer = vec![0; STEP_BYTES];
    loop {
        match content.read(&mut buffer)? {
            0 => return reader.finish().map_err(io::Error::other),
            len => reader.feed(&buffer[..len]).map_err(io::Error::other)?,
        }
    }
}

fn from_raft_id(id: &RaftLogId) -> LogId {
    LogId { term: codec::term_of(id), index: id.index }
}

fn from_raft(meta: &RaftSnapshotMeta) -> io::Result<SnapshotMeta> {
    let last = meta.last_log_id.as_ref().ok_or_else(|| io::Error::other("a snapshot of nothing"))?;
    Ok(SnapshotMeta {
        last: from_raft_id(last),
        membership_id: meta.last_membership.log_id().as_ref().map(from_raft_id),
        membership: codec::encode_membership(meta.last_membership.membership()),
    })
}

fn to_raft(meta: &SnapshotMeta) -> io::Result<RaftSnapshotMeta> {
    let membership: RaftMembership =
        codec::decode_membership(meta.membership.clone()).map_err(io::Error::other)?;
    let to_raft_id = |id: LogId| log_id(id.term, id.index);
    Ok(RaftSnapshotMeta {
        last_log_id: Some(to_raft_id(meta.last)),
        last_membership: RaftStoredMembership::new(meta.membership_id.map(to_raft_id), membership),
    })
}
