//! Reading a snapshot back, every byte checked before it is handed out.

use std::io;

use super::format::{FORMAT, decode_content};
use super::{SnapshotFingerprint, SnapshotMeta};
use crate::blocks::{BlockError, BlockReader, Flaw, TRAILER_BYTES};
use crate::codec::Fields;
use crate::disk::read_exact_at;
use crate::log::LogId;
use crate::{DiskFile, StorageError};

/// The content of a snapshot, through [`io::Read`]. It ends, with `Ok(0)`, only when the whole file was good; damage
/// is an error whose source is a [`StorageError::Corrupt`].
pub struct SnapshotReader<F> {
    blocks: BlockReader<FromStart<F>>,
    name: String,
    meta: SnapshotMeta,
}

impl<F: DiskFile> SnapshotReader<F> {
    /// `expected` is the entry in the file's name.
    pub(super) fn open(file: F, name: String, expected: Option<LogId>) -> Result<Self, StorageError> {
        let opened = BlockReader::open(FromStart::new(file), &FORMAT);
        let (blocks, content) = opened.map_err(|error| into_storage(&name, error))?;
        let damaged = |what| into_storage(&name, blocks.damaged(what));
        let meta = decode_content(&content).ok_or_else(|| damaged("a field of the header is malformed"))?;
        match expected {
            Some(last) if last != meta.last => Err(damaged("the header names another entry")),
            _ => Ok(SnapshotReader { blocks, name, meta }),
        }
    }

    pub fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }

    /// Reads to the end, keeping nothing.
    pub fn verify(mut self) -> Result<SnapshotMeta, StorageError> {
        self.blocks.verify().map_err(|error| into_storage(&self.name, error))?;
        Ok(self.meta)
    }
}

impl<F: DiskFile> io::Read for SnapshotReader<F> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.blocks.read(buf).map_err(|error| io::Error::other(into_storage(&self.name, error)))
    }
}

fn into_storage(name: &str, BlockError { offset, flaw }: BlockError) -> StorageError {
    let what = match flaw {
        Flaw::Io(source) => return StorageError::io("read", name, source),
        Flaw::Newer { found } => {
            return StorageError::Version { file: name.to_owned(), found, supported: FORMAT.version };
        }
        Flaw::OtherFormat => "this is no snapshot",
        Flaw::Short => "the file ends too early",
        Flaw::Excess => "there are bytes after the trailer",
        Flaw::Damaged(what) => what,
    };
    StorageError::corrupt(name, offset, what)
}

/// A file as a stream.
pub(super) struct FromStart<F> {
    file: F,
    at: u64,
}

impl<F> FromStart<F> {
    pub fn new(file: F) -> FromStart<F> {
        FromStart { file, at: 0 }
    }
}

impl<F: DiskFile> io::Read for FromStart<F> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.file.read_at(self.at, buf)?;
        self.at += len as u64;
        Ok(len)
    }
}

/// The bytes of a snapshot file, to be sent as they are. They stay readable when the file is removed.
pub struct SnapshotSource<F> {
    file: F,
    name: String,
    last: LogId,
    len: u64,
}

impl<F: DiskFile> SnapshotSource<F> {
    pub(super) fn new(file: F, name: String, last: LogId) -> Result<Self, StorageError> {
        let len = file.len().map_err(|e| StorageError::io("read the length of", &name, e))?;
        Ok(SnapshotSource { file, name, last, len })
    }

    /// Of the whole file, in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.len
    }

    /// What tells the file from every other. It is not checked here whether the file is good.
    pub fn fingerprint(&self) -> Result<SnapshotFingerprint, StorageError> {
        let at = self.len.checked_sub(TRAILER_BYTES as u64);
        let at = at.ok_or_else(|| StorageError::corrupt(&self.name, 0, "the file ends too early"))?;
        let trailer = self.chunk(at, TRAILER_BYTES)?;
        let mut fields = Fields(&trailer);
        let (Some(0), Some(crc)) = (fields.u32(), fields.u32()) else {
            return Err(StorageError::corrupt(&self.name, at, "there is no trailer at the end"));
        };
        Ok(SnapshotFingerprint { last: self.last, file_bytes: self.len, crc })
    }

    /// The next bytes from `offset`, at most `max_bytes`; empty at the end.
    pub fn chunk(&self, offset: u64, max_bytes: usize) -> Result<Vec<u8>, StorageError> {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; left.min(max_bytes)];
        read_exact_at(&self.file, offset, &mut bytes).map_err(|e| StorageError::io("read", &self.name, e))?;
        Ok(bytes)
    }
}
