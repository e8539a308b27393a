//! What a member keeps on its disk: who it is, its log, its snapshots. And archives, which are kept elsewhere.
//!
//! Everything here is synchronous and goes through the [`Disk`] trait, so that the same code runs on a directory
//! ([`RealDisk`]) and on a simulated disk that crashes, tears and rots from a seed ([`SimDisk`]).
//!
//! What it promises:
//! - What was reported as flushed is found again after any crash, in order, or opening fails. It is never silently
//!   shortened, and a vote never goes back.
//! - Damage is told apart from a torn last write: [`StorageError::Corrupt`] names file and offset, and whoever gets
//!   it must not serve.
//! - A write or fsync that failed is never tried again on the same files by the same process.
//!
//! What it never does: decide anything about consensus, read a clock, draw a random number, or touch the network.
//! The formats are described in `docs/disk-format.md`.

pub mod archive;
mod blocks;
mod codec;
pub mod disk;
mod error;
#[cfg(any(test, fuzzing))]
pub mod hostile;
pub mod identity;
pub mod log;
mod renewal;
mod restoration;
pub mod snapshot;

pub use archive::{ArchiveError, ArchiveHeader, ArchiveReader, ArchiveWriter};
pub use disk::{Disk, DiskFile, FlushTimes, Flushes, ReadOnlyDisk, RealDisk, SimDisk};
pub use error::StorageError;
pub use identity::{DiskState, Identity};
pub use log::{
    Done, Entry, Flush, Log, LogDriver, LogId, LogInline, LogInspection, LogOptions, LogReader, LogThread,
    Pace, Payload, Recovered, Reserve, Vote,
};
pub use snapshot::{
    SnapshotFingerprint, SnapshotMeta, SnapshotReader, SnapshotReceiver, SnapshotSource, SnapshotStore,
    SnapshotWriter, VerifiedSnapshot,
};
