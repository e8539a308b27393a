//! Storing a snapshot that a peer sends, over as many streams as it takes.
//!
//! The bytes go to one file that is named after the snapshot's [`SnapshotFingerprint`] and means nothing to anybody but
//! the next transfer of the very same bytes. That one goes on behind the last good block, whatever ended the one before:
//! a broken stream, the end of the process, or of the power. A transfer of another snapshot removes it, so there is one
//! at most.
//!
//! It never counts as a snapshot before all of it was read back and found good.

use std::io;

use super::reader::{FromStart, SnapshotReader, SnapshotSource};
use super::{FORMAT, SnapshotFingerprint, SnapshotMeta, SnapshotStore, remove};
use crate::blocks::{BlockError, BlockReader, Flaw};
use crate::disk::read_exact_at;
use crate::{Disk, DiskFile, StorageError};

/// How much is written before it is synced, and so how much of what was sent a power loss may cost. Small beside a
/// snapshot whose transfer takes long, and enough that a disk is not busy with syncs alone.
const UNSYNCED_BYTES_MAX: u64 = 4 << 20;

/// Takes the bytes of a peer's file in order, from [`SnapshotReceiver::offset`] on. Dropped before they were verified, it
/// leaves them for the next one; when the disk fails it removes them.
pub struct SnapshotReceiver<D: Disk> {
    store: SnapshotStore<D>,
    of: SnapshotFingerprint,
    turn: u64,
    place: Place<D::File>,
    offset: u64,
    synced: u64,
}

/// Where the bytes are.
enum Place<F> {
    Partial(F),
    /// They are a snapshot of this disk, a good one: nothing but the peer's word for it got lost.
    Snapshot(SnapshotMeta),
    /// Nowhere any more.
    Lost,
}

impl<D: Disk> SnapshotReceiver<D> {
    /// Whoever received before is refused from here on.
    pub(super) fn begin(store: SnapshotStore<D>, of: SnapshotFingerprint) -> Result<Self, StorageError> {
        let receiving = store.receiving.clone();
        let mut turn = receiving.lock();
        *turn += 1;
        let mut receiver =
            SnapshotReceiver { store, of, turn: *turn, place: Place::Lost, offset: 0, synced: 0 };
        match receiver.find_snapshot() {
            Some(meta) => {
                receiver.place = Place::Snapshot(meta);
                receiver.offset = of.file_bytes;
            }
            None => {
                receiver.store.remove_partials(|partial| *partial == of)?;
                receiver.open_partial()?;
            }
        }
        Ok(receiver)
    }

    /// How many bytes are here: the next one to come is that at this offset.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Of the whole file.
    pub fn file_bytes(&self) -> u64 {
        self.of.file_bytes
    }

    /// Adds the next bytes, whatever they are: they are judged as a whole.
    ///
    /// After an error of the disk every later call fails, so that a snapshot with a hole is never finished.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        let receiving = self.store.receiving.clone();
        let current = receiving.lock();
        self.check_turn(*current)?;
        let (at, end) = (self.offset, self.offset.saturating_add(bytes.len() as u64));
        if end > self.of.file_bytes {
            let what = "what a peer sends of a snapshot";
            return Err(StorageError::TooLarge { what, bytes: end, limit: self.of.file_bytes });
        }
        if end - at > UNSYNCED_BYTES_MAX {
            let what = "a piece of a snapshot";
            return Err(StorageError::TooLarge { what, bytes: end - at, limit: UNSYNCED_BYTES_MAX });
        }
        if end - self.synced > UNSYNCED_BYTES_MAX {
            self.sync()?;
        }
        self.attempt("write", |file| file.write_at(at, bytes))?;
        self.offset = end;
        Ok(())
    }

    /// Reads back what was received from end to end.
    ///
    /// Fails with [`StorageError::Incomplete`] when there is more to come, and with [`StorageError::Corrupt`] when it is
    /// not what was announced. That says nothing about this member's disk: the file is gone then, and the peer is to send
    /// all of it again.
    pub fn verify(mut self) -> Result<VerifiedSnapshot<D>, StorageError> {
        let receiving = self.store.receiving.clone();
        let current = receiving.lock();
        self.check_turn(*current)?;
        if self.offset < self.of.file_bytes {
            return Err(StorageError::Incomplete { bytes: self.offset, of: self.of.file_bytes });
        }
        if let Place::Snapshot(meta) = &self.place {
            return Ok(VerifiedSnapshot { meta: meta.clone(), receiver: self });
        }
        match self.read_back() {
            Ok(meta) => Ok(VerifiedSnapshot { meta, receiver: self }),
            Err(error) => {
                self.lose();
                Err(error)
            }
        }
    }

    /// The snapshot itself, if an earlier transfer got as far as that.
    fn find_snapshot(&self) -> Option<SnapshotMeta> {
        let there = self.store.source(self.of.last).and_then(|source| source.fingerprint());
        if there.is_ok_and(|there| there == self.of) { self.store.verify(self.of.last).ok() } else { None }
    }

    fn open_partial(&mut self) -> Result<(), StorageError> {
        let name = self.of.partial_name();
        let disk = &self.store.disk;
        match disk.open(&name) {
            Ok(file) => self.take_up(&name, file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = disk.create(&name).map_err(|e| StorageError::io("create", &name, e))?;
                // Else a power loss takes the name, and with it all that will be synced.
                disk.sync_dir().map_err(|e| StorageError::io("sync the directory of", &name, e))?;
                self.place = Place::Partial(file);
                Ok(())
            }
            Err(source) => Err(StorageError::io("open", &name, source)),
        }
    }

    /// What is good of an earlier transfer stays.
    fn take_up(&mut self, name: &str, file: D::File) -> Result<(), StorageError> {
        let again = self.store.disk.open(name).map_err(|e| StorageError::io("open", name, e))?;
        let good = good_bytes(again).map_err(|e| StorageError::io("read", name, e))?;
        // One that is longer than announced is refused when it is read back.
        let good = if good <= self.of.file_bytes { good } else { 0 };
        // The end may never have reached the disk although it can be read: the process that wrote it died before its sync,
        // or the sync failed and the pages were marked clean. So it is written once more.
        let from = good.saturating_sub(UNSYNCED_BYTES_MAX);
        let mut end = vec![0; (good - from) as usize];
        read_exact_at(&file, from, &mut end).map_err(|e| StorageError::io("read", name, e))?;
        self.place = Place::Partial(file);
        self.offset = good;
        self.attempt("write", |file| file.write_at(from, &end))?;
        self.sync()
    }

    fn read_back(&self) -> Result<SnapshotMeta, StorageError> {
        let name = self.of.partial_name();
        let open = || self.store.disk.open(&name).map_err(|e| StorageError::io("open", &name, e));
        let found = SnapshotSource::new(open()?, name.clone(), self.of.last)?.fingerprint()?;
        if found != self.of {
            return Err(StorageError::corrupt(&name, 0, "these are not the bytes that were announced"));
        }
        SnapshotReader::open(open()?, name, Some(self.of.last))?.verify()
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        self.attempt("sync", |file| file.sync_data())?;
        self.synced = self.offset;
        Ok(())
    }

    fn attempt(
        &mut self,
        attempt: &'static str,
        act: impl FnOnce(&D::File) -> io::Result<()>,
    ) -> Result<(), StorageError> {
        let Place::Partial(file) = &self.place else { return Err(StorageError::Poisoned) };
        act(file).map_err(|source| {
            self.lose();
            StorageError::io(attempt, &self.of.partial_name(), source)
        })
    }

    /// What is on the disk is not to be gone on with. Best effort: if it stays, its end is not trusted and its blocks are
    /// checked.
    fn lose(&mut self) {
        if let Place::Partial(_) = std::mem::replace(&mut self.place, Place::Lost) {
            let _ = remove(&self.store.disk, &self.of.partial_name());
        }
    }

    fn check_turn(&self, current: u64) -> Result<(), StorageError> {
        if current == self.turn { Ok(()) } else { Err(StorageError::Superseded) }
    }
}

/// A whole and good snapshot that is not one of this disk's yet. Dropped, it stays where it is for the next transfer.
pub struct VerifiedSnapshot<D: Disk> {
    receiver: SnapshotReceiver<D>,
    meta: SnapshotMeta,
}

impl<D: Disk> VerifiedSnapshot<D> {
    pub fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }

    /// Makes it durable, gives it its name, and removes the oldest beyond those to keep.
    pub fn publish(mut self) -> Result<SnapshotMeta, StorageError> {
        let receiver = &mut self.receiver;
        let receiving = receiver.store.receiving.clone();
        let current = receiving.lock();
        receiver.check_turn(*current)?;
        if let Place::Partial(_) = receiver.place {
            receiver.sync()?;
            receiver.store.publish(&receiver.of.partial_name(), receiver.of.last)?;
        }
        Ok(self.meta)
    }

    /// It is not what was asked for: nothing of it is kept.
    pub fn discard(mut self) {
        self.receiver.lose();
    }
}

/// How many bytes of a file are the beginning of a snapshot, up to the end of a block.
fn good_bytes<F: DiskFile>(file: F) -> io::Result<u64> {
    let opened = BlockReader::open(FromStart::new(file), &FORMAT);
    match opened.and_then(|(mut blocks, _)| blocks.skip_good()) {
        Ok(bytes) => Ok(bytes),
        Err(BlockError { flaw: Flaw::Io(source), .. }) => Err(source),
        // Not even the header.
        Err(_) => Ok(0),
    }
}
