//! Reading a snapshot back, every byte checked before it is handed out.

use std::io;

use super::SnapshotMeta;
use super::format::{FORMAT, decode_content};
use crate::blocks::{BlockError, BlockReader, Flaw};
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
        let opened = BlockReader::open(FromStart { file, at: 0 }, &FORMAT);
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
struct FromStart<F> {
    file: F,
    at: u64,
}

impl<F: DiskFile> io::Read for FromStart<F> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.file.read_at(self.at, buf)?;
        self.at += len as u64;
        Ok(len)
    }
}

/// The bytes of a snapshot file, to be sent as they are.
pub struct SnapshotSource<F> {
    file: F,
    name: String,
    len: u64,
}

impl<F: DiskFile> SnapshotSource<F> {
    pub(super) fn new(file: F, name: String) -> Result<Self, StorageError> {
        let len = file.len().map_err(|e| StorageError::io("read the length of", &name, e))?;
        Ok(SnapshotSource { file, name, len })
    }

    /// Of the whole file, in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.len
    }

    /// The next bytes from `offset`, at most `max_bytes`; empty at the end.
    pub fn chunk(&self, offset: u64, max_bytes: usize) -> Result<Vec<u8>, StorageError> {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; left.min(max_bytes)];
        read_exact_at(&self.file, offset, &mut bytes).map_err(|e| StorageError::io("read", &self.name, e))?;
        Ok(bytes)
    }
}
