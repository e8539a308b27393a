//! The one error type of this crate.
//!
//! It is `Clone` because one failed flush answers everyone who waited for it.

use std::io;
use std::sync::Arc;

use zke_tree::MemberId;

/// Why the disk could not be read or written. None of these is worth a retry by the same process.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StorageError {
    /// The operating system refused; the state of what was being written is unknown.
    #[error("could not {attempt} {file}; check the volume and restart this member")]
    Io {
        attempt: &'static str,
        file: String,
        #[source]
        source: Arc<io::Error>,
    },

    /// The bytes on disk are not what was written. The member must not serve; it is to be replaced under a new id.
    #[error(
        "{file} is corrupt at byte {offset}: {what}; keep the files for analysis and replace this member"
    )]
    Corrupt { file: String, offset: u64, what: String },

    /// The file belongs to another member's disk.
    #[error("{file} belongs to member {found}, this disk is member {expected}; mount the right volume")]
    Foreign { file: String, expected: MemberId, found: MemberId },

    /// A format that this build does not know.
    #[error(
        "{file} has format version {found}, this build reads up to {supported}; run the newer build again"
    )]
    Version { file: String, found: u8, supported: u8 },

    /// The disk was in use before, yet files that must exist are gone.
    #[error("{file} is missing on a disk that was in use; restore it or replace this member")]
    Missing { file: String },

    /// Another process holds the directory.
    #[error("{directory} is in use by another process; stop it first")]
    InUse { directory: String },

    /// The caller broke the order that the log demands. A bug, caught before it reached the disk.
    #[error("refused an operation on the log that is out of order: {what}")]
    OutOfOrder { what: String },

    /// Larger than the format or the disk's options allow.
    #[error("{what} of {bytes} bytes is above the limit of {limit}")]
    TooLarge { what: &'static str, bytes: u64, limit: u64 },

    /// A peer's snapshot that is not all here yet.
    #[error("{bytes} of {of} bytes of a snapshot are here; the peer is to send the rest")]
    Incomplete { bytes: u64, of: u64 },

    /// A snapshot is received once at a time, and the latest who sends one is heard.
    #[error("another transfer of a snapshot to this member took the place of this one")]
    Superseded,

    /// An earlier write or fsync failed, so nothing more may be written.
    #[error("the log takes no more writes after an earlier failure; restart this member")]
    Poisoned,
}

impl StorageError {
    /// Whether the volume has no room for what was to be written. Unlike every other failure it passes by itself.
    pub fn is_full(&self) -> bool {
        let StorageError::Io { source, .. } = self else { return false };
        matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// File and offset of what is damaged or lost. With `Some` the member's data are not to be trusted, and no restart
    /// will help.
    pub fn damage(&self) -> Option<(&str, u64)> {
        match self {
            StorageError::Corrupt { file, offset, .. } => Some((file, *offset)),
            StorageError::Missing { file } => Some((file, 0)),
            _ => None,
        }
    }

    pub fn io(attempt: &'static str, file: &str, source: io::Error) -> Self {
        StorageError::Io { attempt, file: file.to_owned(), source: Arc::new(source) }
    }

    pub(crate) fn corrupt(file: &str, offset: u64, what: impl Into<String>) -> Self {
        StorageError::Corrupt { file: file.to_owned(), offset, what: what.into() }
    }
}
