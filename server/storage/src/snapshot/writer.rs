//! Writing a snapshot, block by block.

use std::io;

use super::format::encode_header;
use super::{SnapshotMeta, SnapshotReader, SnapshotStore};
use crate::blocks::BlockWriter;
use crate::log::LogId;
use crate::{Disk, DiskFile, StorageError};

/// How much may be written before it is synced. A snapshot that dirties gigabytes at once would make the log's next
/// fdatasync wait for all of them.
pub(super) const SYNC_EVERY_BYTES: u64 = 16 << 20;

/// Takes the content of a snapshot through [`io::Write`]. Dropped before it is finished, it leaves nothing.
pub struct SnapshotWriter<D: Disk> {
    file: UnfinishedFile<D>,
    last: LogId,
    blocks: BlockWriter,
}

impl<D: Disk> SnapshotWriter<D> {
    pub(super) fn create(
        store: SnapshotStore<D>,
        unfinished: String,
        meta: &SnapshotMeta,
    ) -> Result<Self, StorageError> {
        let header = encode_header(meta)?;
        let mut file = UnfinishedFile::create(store, unfinished)?;
        file.append(&header)?;
        Ok(SnapshotWriter { file, last: meta.last, blocks: BlockWriter::after(&header) })
    }

    /// Makes the snapshot durable, gives it its name, and removes the oldest beyond those to keep.
    pub fn finish(self) -> Result<(), StorageError> {
        let SnapshotWriter { mut file, last, blocks } = self;
        blocks.finish(|bytes| file.append(bytes))?;
        file.finish(last)
    }

    /// Makes the snapshot durable under a name that does not count yet: see [`SnapshotStore::publish_staged`].
    pub fn finish_staged(self) -> Result<(), StorageError> {
        let SnapshotWriter { mut file, last, blocks } = self;
        blocks.finish(|bytes| file.append(bytes))?;
        file.finish_staged(last)
    }

    /// Reads back what was written, and how many bytes it is; the file has no name any more and goes with the reader.
    pub fn finish_nameless(self) -> Result<(SnapshotReader<D::File>, u64), StorageError> {
        let SnapshotWriter { mut file, last, blocks } = self;
        let content_bytes = blocks.finish(|bytes| file.append(bytes))?;
        let reader = SnapshotReader::open(file.open_again()?, file.name().to_owned(), Some(last))?;
        Ok((reader, content_bytes))
    }
}

impl<D: Disk> io::Write for SnapshotWriter<D> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.blocks.write(data, |bytes| self.file.append(bytes)).map_err(io::Error::other)
    }

    /// Blocks are full but for the last one, so this does nothing; [`SnapshotWriter::finish`] makes durable.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file under a name that means nothing yet; it is removed unless it is finished.
pub(super) struct UnfinishedFile<D: Disk> {
    store: SnapshotStore<D>,
    name: String,
    pub file: Option<D::File>,
    len: u64,
    synced: u64,
    failed: bool,
}

impl<D: Disk> UnfinishedFile<D> {
    pub fn create(store: SnapshotStore<D>, name: String) -> Result<Self, StorageError> {
        let file = store.disk.create(&name).map_err(|e| StorageError::io("create", &name, e))?;
        Ok(UnfinishedFile { store, name, file: Some(file), len: 0, synced: 0, failed: false })
    }

    /// After an error every later call fails, so that a snapshot with a hole is never finished.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        let (at, len) = (self.len, self.len + bytes.len() as u64);
        let sync = len - self.synced >= SYNC_EVERY_BYTES;
        self.attempt("write", |file| file.write_at(at, bytes))?;
        self.len = len;
        if sync {
            self.sync()?;
        }
        Ok(())
    }

    pub fn sync(&mut self) -> Result<(), StorageError> {
        #[cfg(feature = "fault")]
        if zke_tree::fault::is_on("unsynced-snapshot") {
            return Ok(());
        }
        self.attempt("sync", |file| file.sync_data())?;
        self.synced = self.len;
        Ok(())
    }

    pub fn finish(mut self, last: LogId) -> Result<(), StorageError> {
        self.sync()?;
        self.store.publish(&self.name, last)?;
        // Has its name now: not to be removed any more.
        self.file = None;
        Ok(())
    }

    pub fn finish_staged(mut self, last: LogId) -> Result<(), StorageError> {
        self.sync()?;
        self.store.stage(&self.name, last)?;
        self.file = None;
        Ok(())
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn open_again(&self) -> Result<D::File, StorageError> {
        self.store.disk.open(&self.name).map_err(|e| StorageError::io("open", &self.name, e))
    }

    fn attempt(
        &mut self,
        attempt: &'static str,
        act: impl FnOnce(&D::File) -> io::Result<()>,
    ) -> Result<(), StorageError> {
        let Some(file) = self.file.as_ref().filter(|_| !self.failed) else {
            return Err(StorageError::Poisoned);
        };
        act(file).map_err(|source| {
            self.failed = true;
            StorageError::io(attempt, &self.name, source)
        })
    }
}

impl<D: Disk> Drop for UnfinishedFile<D> {
    fn drop(&mut self) {
        if self.file.is_some() {
            // Best effort: what stays is removed when the store is opened.
            let _ = self.store.disk.remove(&self.name);
        }
    }
}
