//! Snapshots of the replicated state, one file each, named after the last entry they cover.
//!
//! A file that has such a name is complete: it was written under another name, synced, renamed, and the directory
//! synced. The content is a stream of bytes that means nothing here, in blocks with chained checksums, so that no
//! flipped, missing, doubled or exchanged block is ever read as good. [`SnapshotReader`] reports the end only after
//! the trailer, so whoever read to the end has a whole snapshot.
//!
//! The same bytes are sent to a peer ([`SnapshotSource`]) and stored by it ([`SnapshotReceiver`]), in a file of another
//! kind of name until it has them all.

mod fingerprint;
mod format;
mod reader;
mod receiver;
mod writer;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use parking_lot::Mutex;

pub use fingerprint::SnapshotFingerprint;
pub(crate) use format::FORMAT;
pub use reader::{SnapshotReader, SnapshotSource};
pub use receiver::{SnapshotReceiver, VerifiedSnapshot};
pub use writer::SnapshotWriter;

use crate::disk::UNFINISHED;
use crate::log::LogId;
use crate::{Disk, DiskFile, StorageError};

/// What a snapshot says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotMeta {
    /// The last entry whose effect is in it.
    pub last: LogId,
    /// The entry that `membership` came from; `None` before the first.
    pub membership_id: Option<LogId>,
    /// The membership in force at `last`, encoded by consensus. At most 1 MiB.
    pub membership: Bytes,
}

/// The snapshots of a disk. Clones are handles to the same ones.
#[derive(Clone)]
pub struct SnapshotStore<D: Disk> {
    disk: D,
    keep: usize,
    /// Tells apart the files that are being written at the same time.
    unfinished: Arc<AtomicU64>,
    /// Which receiver may write. Held while it does, so that one that is late does not write behind the next one's back.
    receiving: Arc<Mutex<u64>>,
}

impl<D: Disk> SnapshotStore<D> {
    /// Opens the snapshots on `disk`, of which the newest `keep` (at least one) stay, and removes what an earlier
    /// process did not finish; what it received of a newer snapshot stays. To be called once per process.
    pub fn open(disk: D, keep: usize) -> Result<SnapshotStore<D>, StorageError> {
        for name in list(&disk)?.iter().filter(|name| name.starts_with(PREFIX) && name.ends_with(UNFINISHED))
        {
            remove(&disk, name)?;
        }
        let store = SnapshotStore { keep: keep.max(1), ..SnapshotStore::look(disk) };
        let newest = store.list()?.first().copied();
        store.remove_partials(|partial| newest.is_none_or(|newest| partial.last > newest))?;
        Ok(store)
    }

    /// The snapshots on a disk that is only read from; what an earlier process did not finish stays.
    pub fn look(disk: D) -> SnapshotStore<D> {
        SnapshotStore { disk, keep: usize::MAX, unfinished: Arc::default(), receiving: Arc::default() }
    }

    /// Removes all but the newest, for room.
    pub fn keep_newest_only(&self) -> Result<(), StorageError> {
        for old in self.list()?.into_iter().skip(1) {
            remove(&self.disk, &name(PREFIX, old))?;
        }
        Ok(())
    }

    /// How much room the next snapshot needs, in bytes, if it is a quarter larger than the newest, beyond what
    /// [`SnapshotStore::keep_newest_only`] would free.
    pub fn wanted_bytes(&self) -> Result<u64, StorageError> {
        let mut lens = Vec::new();
        for last in self.list()? {
            match self.open_file(last) {
                Ok(file) => {
                    let len = file.len();
                    lens.push(
                        len.map_err(|e| StorageError::io("read the length of", &name(PREFIX, last), e))?,
                    );
                }
                // Another one came meanwhile, and this one went.
                Err(StorageError::Missing { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let Some((newest, older)) = lens.split_first() else { return Ok(0) };
        Ok((newest + newest / 4).saturating_sub(older.iter().sum()))
    }

    /// The last entries of the snapshots that are there, newest first.
    pub fn list(&self) -> Result<Vec<LogId>, StorageError> {
        let mut found: Vec<LogId> =
            list(&self.disk)?.iter().filter_map(|name| parse_name(name, PREFIX)).collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        Ok(found)
    }

    /// The newest snapshot, its header checked. `None` when there is none.
    ///
    /// There is no falling back to an older one when this one is damaged: the log is purged up to the newest.
    pub fn newest(&self) -> Result<Option<SnapshotReader<D::File>>, StorageError> {
        self.list()?.first().map(|&last| self.read(last)).transpose()
    }

    /// The content of one snapshot, checked as it is read.
    pub fn read(&self, last: LogId) -> Result<SnapshotReader<D::File>, StorageError> {
        SnapshotReader::open(self.open_file(last)?, name(PREFIX, last), Some(last))
    }

    /// Reads one snapshot from end to end.
    pub fn verify(&self, last: LogId) -> Result<SnapshotMeta, StorageError> {
        self.read(last)?.verify()
    }

    /// The bytes of one snapshot as they are in the file, for a peer. It stays readable after the file was removed.
    pub fn source(&self, last: LogId) -> Result<SnapshotSource<D::File>, StorageError> {
        SnapshotSource::new(self.open_file(last)?, name(PREFIX, last), last)
    }

    /// Begins a snapshot. It exists once [`SnapshotWriter::finish`] returned.
    pub fn create(&self, meta: &SnapshotMeta) -> Result<SnapshotWriter<D>, StorageError> {
        SnapshotWriter::create(self.clone(), self.unfinished_name(), meta)
    }

    /// Begins to store the bytes of a peer's snapshot, or goes on with it. It exists once
    /// [`VerifiedSnapshot::publish`] returned. Reads all that is here of it.
    pub fn receive(&self, of: SnapshotFingerprint) -> Result<SnapshotReceiver<D>, StorageError> {
        SnapshotReceiver::begin(self.clone(), of)
    }

    /// What was received in part.
    pub fn partial(&self) -> Result<Option<SnapshotFingerprint>, StorageError> {
        Ok(self.partials()?.into_iter().max_by_key(|partial| partial.last))
    }

    /// The staged snapshot, if there is one.
    pub(crate) fn staged(&self) -> Result<Option<LogId>, StorageError> {
        Ok(list(&self.disk)?.iter().filter_map(|name| parse_name(name, STAGED)).max())
    }

    /// Gives the staged snapshot its name. Does nothing if that was done.
    pub(crate) fn publish_staged(&self) -> Result<Option<LogId>, StorageError> {
        match self.staged()? {
            Some(last) => self.publish(&name(STAGED, last), last).map(|()| Some(last)),
            None => Ok(self.list()?.first().copied()),
        }
    }

    /// Removes what was staged and will not be published.
    pub fn discard_staged(&self) -> Result<(), StorageError> {
        for name in list(&self.disk)?.iter().filter(|name| parse_name(name, STAGED).is_some()) {
            remove(&self.disk, name)?;
        }
        Ok(())
    }

    fn partials(&self) -> Result<Vec<SnapshotFingerprint>, StorageError> {
        let names = list(&self.disk)?;
        Ok(names.iter().filter_map(|name| SnapshotFingerprint::parse_partial_name(name)).collect())
    }

    fn remove_partials(&self, stays: impl Fn(&SnapshotFingerprint) -> bool) -> Result<(), StorageError> {
        for partial in self.partials()?.into_iter().filter(|partial| !stays(partial)) {
            remove(&self.disk, &partial.partial_name())?;
        }
        Ok(())
    }

    /// Gives the synced file `unfinished` a name under which it waits to be published.
    fn stage(&self, unfinished: &str, last: LogId) -> Result<(), StorageError> {
        let name = name(STAGED, last);
        self.disk.rename(unfinished, &name).map_err(|e| StorageError::io("name", &name, e))?;
        self.disk.sync_dir().map_err(|e| StorageError::io("sync the directory of", &name, e))
    }

    fn open_file(&self, last: LogId) -> Result<D::File, StorageError> {
        let name = name(PREFIX, last);
        self.disk.open(&name).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => StorageError::Missing { file: name },
            _ => StorageError::io("open", &name, source),
        })
    }

    fn unfinished_name(&self) -> String {
        format!("{PREFIX}{}{UNFINISHED}", self.unfinished.fetch_add(1, Ordering::Relaxed))
    }

    /// Gives the synced file `unfinished` its name for good, and removes the oldest ones and what is of no use any more.
    fn publish(&self, unfinished: &str, last: LogId) -> Result<(), StorageError> {
        let name = name(PREFIX, last);
        self.disk.rename(unfinished, &name).map_err(|e| StorageError::io("name", &name, e))?;
        self.disk.sync_dir().map_err(|e| StorageError::io("sync the directory of", &name, e))?;
        for old in self.list()?.into_iter().skip(self.keep) {
            remove(&self.disk, &self::name(PREFIX, old))?;
        }
        self.remove_partials(|partial| partial.last > last)
    }
}

/// Whether a file of this name is a snapshot.
pub(crate) fn is_snapshot(name: &str) -> bool {
    parse_name(name, PREFIX).is_some()
}

/// Whether a file of this name is a part of a snapshot.
pub(crate) fn is_partial(name: &str) -> bool {
    SnapshotFingerprint::parse_partial_name(name).is_some()
}

const PREFIX: &str = "snapshot-";

/// Of one that waits until the identity says that it counts.
const STAGED: &str = "staged-";

fn name(prefix: &str, last: LogId) -> String {
    format!("{prefix}{:016x}-{:016x}", last.term, last.index)
}

fn parse_name(file: &str, prefix: &str) -> Option<LogId> {
    let (term, index) = file.strip_prefix(prefix)?.split_once('-')?;
    let number = |digits| u64::from_str_radix(digits, 16).ok();
    let last = LogId { term: number(term)?, index: number(index)? };
    (name(prefix, last) == file).then_some(last)
}

fn list(disk: &impl Disk) -> Result<Vec<String>, StorageError> {
    disk.list().map_err(|e| StorageError::io("list", "the data directory", e))
}

fn remove(disk: &impl Disk, name: &str) -> Result<(), StorageError> {
    disk.remove(name).map_err(|e| StorageError::io("remove", name, e))
}
