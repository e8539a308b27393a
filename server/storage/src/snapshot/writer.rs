//! Writing a snapshot, block by block.

use std::io;

use super::format::{BLOCK_BYTES_MAX, BLOCK_HEADER_BYTES, chain, encode_header};
use super::{SnapshotMeta, SnapshotStore};
use crate::log::LogId;
use crate::{Disk, DiskFile, StorageError};

/// How much may be written before it is synced. A snapshot that dirties gigabytes at once would make the log's next
/// fdatasync wait for all of them.
pub(super) const SYNC_EVERY_BYTES: u64 = 16 << 20;

/// Takes the content of a snapshot through [`io::Write`]. Dropped before [`SnapshotWriter::finish`], it leaves nothing.
pub struct SnapshotWriter<D: Disk> {
    file: UnfinishedFile<D>,
    last: LogId,
    crc: u32,
    content_bytes: u64,
    /// Room for the header of a block, then its data.
    block: Vec<u8>,
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
        let crc = header.last_chunk().map_or(0, |crc| u32::from_le_bytes(*crc));
        Ok(SnapshotWriter {
            file,
            last: meta.last,
            crc,
            content_bytes: 0,
            block: vec![0; BLOCK_HEADER_BYTES],
        })
    }

    /// Makes the snapshot durable, gives it its name, and removes the oldest beyond those to keep.
    pub fn finish(mut self) -> Result<(), StorageError> {
        self.write_block()?;
        let content_bytes = self.content_bytes.to_le_bytes();
        let crc = chain(self.crc, 0, &content_bytes);
        let trailer = [&0u32.to_le_bytes()[..], &crc.to_le_bytes(), &content_bytes].concat();
        self.file.append(&trailer)?;
        self.file.finish(self.last)
    }

    fn write_block(&mut self) -> Result<(), StorageError> {
        let data = &self.block[BLOCK_HEADER_BYTES..];
        if data.is_empty() {
            return Ok(());
        }
        let len = data.len() as u32;
        self.crc = chain(self.crc, len, data);
        self.content_bytes += u64::from(len);
        self.block[..4].copy_from_slice(&len.to_le_bytes());
        self.block[4..8].copy_from_slice(&self.crc.to_le_bytes());
        self.file.append(&self.block)?;
        self.block.truncate(BLOCK_HEADER_BYTES);
        Ok(())
    }
}

impl<D: Disk> io::Write for SnapshotWriter<D> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let taken = data.len().min(BLOCK_HEADER_BYTES + BLOCK_BYTES_MAX - self.block.len());
        self.block.extend_from_slice(&data[..taken]);
        if self.block.len() == BLOCK_HEADER_BYTES + BLOCK_BYTES_MAX {
            self.write_block().map_err(io::Error::other)?;
        }
        Ok(taken)
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
        self.attempt("sync", D::File::sync_data)?;
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
