//! Storing a snapshot that a peer sends.

use super::reader::SnapshotReader;
use super::writer::UnfinishedFile;
use super::{SnapshotMeta, SnapshotStore};
use crate::{Disk, StorageError};

/// Takes the bytes of a peer's file in order. Dropped before [`SnapshotReceiver::finish`], it leaves nothing.
pub struct SnapshotReceiver<D: Disk> {
    file: UnfinishedFile<D>,
}

impl<D: Disk> SnapshotReceiver<D> {
    pub(super) fn create(store: SnapshotStore<D>, unfinished: String) -> Result<Self, StorageError> {
        UnfinishedFile::create(store, unfinished).map(|file| SnapshotReceiver { file })
    }

    /// Adds the next bytes, whatever they are: they are judged as a whole.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.file.append(bytes)
    }

    /// Reads back what was received from end to end; when it is a whole snapshot, makes it durable, gives it its name,
    /// and removes the oldest beyond those to keep.
    ///
    /// Fails with [`StorageError::Corrupt`] when it is none. That says nothing about this member's disk: the file is
    /// gone, and the peer is to send again.
    pub fn finish(self) -> Result<SnapshotMeta, StorageError> {
        let reader = SnapshotReader::open(self.file.open_again()?, self.file.name().to_owned(), None)?;
        let meta = reader.verify()?;
        self.file.finish(meta.last)?;
        Ok(meta)
    }
}
