//! Reading a snapshot back, every byte checked before it is handed out.

use std::io;

use super::SnapshotMeta;
use super::format::{
    BLOCK_BYTES_MAX, BLOCK_HEADER_BYTES, CONTENT_BYTES_MAX, MAGIC, PREFIX_BYTES, TRAILER_BYTES, VERSION,
    chain, decode_content,
};
use crate::codec::Fields;
use crate::disk::read_exact_at;
use crate::log::LogId;
use crate::{DiskFile, StorageError};

/// The content of a snapshot, through [`io::Read`]. It ends, with `Ok(0)`, only when the whole file was good; damage
/// is an error whose source is a [`StorageError::Corrupt`].
pub struct SnapshotReader<F> {
    file: F,
    name: String,
    meta: SnapshotMeta,
    /// Where the next block is.
    offset: u64,
    crc: u32,
    content_bytes: u64,
    block: Vec<u8>,
    /// How much of `block` was handed out.
    taken: usize,
    ended: bool,
}

impl<F: DiskFile> SnapshotReader<F> {
    /// `expected` is the entry in the file's name.
    pub(super) fn open(file: F, name: String, expected: Option<LogId>) -> Result<Self, StorageError> {
        let mut reader = SnapshotReader {
            meta: SnapshotMeta {
                last: LogId { term: 0, index: 0 },
                membership_id: None,
                membership: bytes::Bytes::new(),
            },
            file,
            name,
            offset: 0,
            crc: 0,
            content_bytes: 0,
            block: Vec::new(),
            taken: 0,
            ended: false,
        };
        reader.read_header()?;
        match expected {
            Some(last) if last != reader.meta.last => Err(reader.corrupt("the header names another entry")),
            _ => Ok(reader),
        }
    }

    pub fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }

    /// Reads to the end, keeping nothing.
    pub fn verify(mut self) -> Result<SnapshotMeta, StorageError> {
        while self.next_block()? {}
        Ok(self.meta)
    }

    fn read_header(&mut self) -> Result<(), StorageError> {
        let mut header = self.fetch(0, PREFIX_BYTES)?;
        let mut fields = Fields(&header);
        let (Some(MAGIC), Some(version), Some(len)) = (fields.array(), fields.u8(), fields.u32()) else {
            return Err(self.corrupt("this is no snapshot"));
        };
        // Before the checksum: a newer version may have another header.
        if version > VERSION {
            return Err(StorageError::Version {
                file: self.name.clone(),
                found: version,
                supported: VERSION,
            });
        }
        let len = len as usize;
        if len > CONTENT_BYTES_MAX {
            return Err(self.corrupt("the length of the header is damaged"));
        }
        header.extend(self.fetch(PREFIX_BYTES as u64, len + 4)?);
        let (body, crc) = header.split_at(PREFIX_BYTES + len);
        self.crc = crc32c::crc32c(body);
        if crc != self.crc.to_le_bytes() {
            return Err(self.corrupt("the checksum of the header is wrong"));
        }
        self.meta = decode_content(&body[PREFIX_BYTES..])
            .ok_or_else(|| self.corrupt("a field of the header is malformed"))?;
        self.offset = header.len() as u64;
        Ok(())
    }

    /// Loads the next block; `false` after a good trailer.
    fn next_block(&mut self) -> Result<bool, StorageError> {
        if self.ended {
            return Ok(false);
        }
        let header = self.fetch(self.offset, BLOCK_HEADER_BYTES)?;
        let mut fields = Fields(&header);
        let (Some(len), Some(crc)) = (fields.u32(), fields.u32()) else {
            return Err(self.corrupt("the file ends inside of a block"));
        };
        if len == 0 {
            return self.read_trailer(crc).map(|()| false);
        }
        if len as usize > BLOCK_BYTES_MAX {
            return Err(self.corrupt("the length of a block is damaged"));
        }
        self.block = self.fetch(self.offset + BLOCK_HEADER_BYTES as u64, len as usize)?;
        self.taken = 0;
        self.crc = chain(self.crc, len, &self.block);
        if self.crc != crc {
            // Not a byte of it is handed out.
            self.block.clear();
            return Err(self.corrupt("the checksum of a block is wrong"));
        }
        self.offset += (BLOCK_HEADER_BYTES + self.block.len()) as u64;
        self.content_bytes += u64::from(len);
        Ok(true)
    }

    fn read_trailer(&mut self, crc: u32) -> Result<(), StorageError> {
        let content_bytes = self.fetch(self.offset + BLOCK_HEADER_BYTES as u64, 8)?;
        if chain(self.crc, 0, &content_bytes) != crc || self.content_bytes.to_le_bytes() != content_bytes[..]
        {
            return Err(self.corrupt("the trailer does not fit what is before it"));
        }
        let end = self.offset + TRAILER_BYTES as u64;
        let len = self.file.len().map_err(|e| StorageError::io("read the length of", &self.name, e))?;
        if len != end {
            return Err(self.corrupt("there are bytes after the trailer"));
        }
        self.ended = true;
        Ok(())
    }

    fn fetch(&self, offset: u64, len: usize) -> Result<Vec<u8>, StorageError> {
        let mut bytes = vec![0; len];
        read_exact_at(&self.file, offset, &mut bytes).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => self.corrupt("the file ends too early"),
            _ => StorageError::io("read", &self.name, source),
        })?;
        Ok(bytes)
    }

    fn corrupt(&self, what: &str) -> StorageError {
        StorageError::corrupt(&self.name, self.offset, what)
    }
}

impl<F: DiskFile> io::Read for SnapshotReader<F> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.block.len() {
            if !self.next_block().map_err(io::Error::other)? {
                return Ok(0);
            }
        }
        let len = buf.len().min(self.block.len() - self.taken);
        buf[..len].copy_from_slice(&self.block[self.taken..self.taken + len]);
        self.taken += len;
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
