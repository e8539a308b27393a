//! A stream of bytes in blocks with chained checksums: what snapshots and archives have in common.
//!
//! ```text
//! header   magic [8], version u8, len u32, content [len], crc32c u32 of all before it
//! block    len u32 (1 to 256 KiB), crc32c u32 of len and data, going on from the crc before it; data [len]
//! trailer  0 u32, crc32c u32 likewise over 0 and the length; bytes of all data u64
//! ```
//!
//! Every checksum starts from the one before it, so a block is only good in its place. [`BlockReader`] hands out no
//! byte that was not checked, and reports the end only after the trailer: whoever read to the end has all of it.

use std::io;

use crate::codec::Fields;

/// Data of a block: large enough for few calls, small enough to hold one at a time.
pub(crate) const BLOCK_BYTES_MAX: usize = 256 << 10;

/// Magic, version and the length of the header's content.
const PREFIX_BYTES: usize = 13;

/// The length and the checksum of a block.
const BLOCK_HEADER_BYTES: usize = 8;

/// A 0 and a checksum in the place of a block's, and the bytes of all data.
pub(crate) const TRAILER_BYTES: usize = BLOCK_HEADER_BYTES + 8;

/// What kind of file it is.
pub(crate) struct Format {
    pub magic: [u8; 8],
    /// The newest that this build reads, and the one it writes.
    pub version: u8,
    /// Keeps a damaged length from asking for all memory.
    pub header_bytes_max: usize,
}

impl Format {
    /// `content` is at most `header_bytes_max` long: the caller checks.
    pub fn header(&self, content: &[u8]) -> Vec<u8> {
        let mut header = self.magic.to_vec();
        header.push(self.version);
        header.extend_from_slice(&(content.len() as u32).to_le_bytes());
        header.extend_from_slice(content);
        let crc = crc32c::crc32c(&header);
        header.extend_from_slice(&crc.to_le_bytes());
        header
    }
}

/// Where reading stopped, and why.
#[derive(Debug)]
pub(crate) struct BlockError {
    pub offset: u64,
    pub flaw: Flaw,
}

#[derive(Debug)]
pub(crate) enum Flaw {
    Io(io::Error),
    /// It does not begin as a file of this format.
    OtherFormat,
    Newer {
        found: u8,
    },
    /// It ends before its trailer.
    Short,
    /// It goes on after its trailer.
    Excess,
    Damaged(&'static str),
}

/// Checks a stream as it comes.
pub(crate) struct BlockReader<R> {
    source: R,
    /// Where the next block is.
    offset: u64,
    crc: u32,
    content_bytes: u64,
    block: Vec<u8>,
    /// How much of `block` was handed out.
    taken: usize,
    end: End,
}

#[derive(PartialEq, Eq)]
enum End {
    NotYet,
    Good,
    Bad,
}

impl<R: io::Read> BlockReader<R> {
    /// Reads the header; returns its content too.
    pub fn open(source: R, format: &Format) -> Result<(Self, Vec<u8>), BlockError> {
        let mut reader = BlockReader {
            source,
            offset: 0,
            crc: 0,
            content_bytes: 0,
            block: Vec::new(),
            taken: 0,
            end: End::NotYet,
        };
        let content = reader.read_header(format)?;
        Ok((reader, content))
    }

    /// That what was read so far is not what the caller expected.
    pub fn damaged(&self, what: &'static str) -> BlockError {
        self.error(Flaw::Damaged(what))
    }

    /// As [`io::Read::read`]: 0 only after a good trailer.
    pub fn read(&mut self, buf: &mut [u8]) -> Result<usize, BlockError> {
        while self.taken == self.block.len() {
            if !self.next_block()? {
                return Ok(0);
            }
        }
        let len = buf.len().min(self.block.len() - self.taken);
        buf[..len].copy_from_slice(&self.block[self.taken..self.taken + len]);
        self.taken += len;
        Ok(len)
    }

    /// Reads to the end, keeping nothing.
    pub fn verify(&mut self) -> Result<(), BlockError> {
        while self.next_block()? {}
        Ok(())
    }

    /// Reads on for as long as all is good, keeping nothing; returns where that ends.
    pub fn skip_good(&mut self) -> Result<u64, BlockError> {
        match self.verify() {
            Err(error @ BlockError { flaw: Flaw::Io(_), .. }) => Err(error),
            Err(BlockError { offset, .. }) => Ok(offset),
            Ok(()) => Ok(self.offset),
        }
    }

    fn read_header(&mut self, format: &Format) -> Result<Vec<u8>, BlockError> {
        let mut header = self.fetch(PREFIX_BYTES)?;
        let mut fields = Fields(&header);
        let (magic, version, len) = (fields.array(), fields.u8(), fields.u32());
        let (Some(version), Some(len)) = (version, len) else { return Err(self.error(Flaw::Short)) };
        if magic != Some(format.magic) {
            return Err(self.error(Flaw::OtherFormat));
        }
        // Before the checksum: a newer version may have another header.
        if version > format.version {
            return Err(self.error(Flaw::Newer { found: version }));
        }
        let len = len as usize;
        if len > format.header_bytes_max {
            return Err(self.damaged("the length of the header is damaged"));
        }
        header.extend(self.fetch(len + 4)?);
        let (body, crc) = header.split_at(PREFIX_BYTES + len);
        self.crc = crc32c::crc32c(body);
        if crc != self.crc.to_le_bytes() {
            return Err(self.damaged("the checksum of the header is wrong"));
        }
        self.offset = header.len() as u64;
        header.truncate(PREFIX_BYTES + len);
        Ok(header.split_off(PREFIX_BYTES))
    }

    /// Loads the next block; `false` after a good trailer.
    fn next_block(&mut self) -> Result<bool, BlockError> {
        match self.end {
            End::Good => return Ok(false),
            End::Bad => return Err(self.damaged("what is before it was not good")),
            // Until the outcome is known.
            End::NotYet => self.end = End::Bad,
        }
        self.block.clear();
        self.taken = 0;
        let header = self.fetch(BLOCK_HEADER_BYTES)?;
        let mut fields = Fields(&header);
        let (Some(len), Some(crc)) = (fields.u32(), fields.u32()) else {
            return Err(self.error(Flaw::Short));
        };
        if len == 0 {
            return self.read_trailer(crc).map(|()| false);
        }
        if len as usize > BLOCK_BYTES_MAX {
            return Err(self.damaged("the length of a block is damaged"));
        }
        let block = self.fetch(len as usize)?;
        self.crc = chain(self.crc, len, &block);
        if self.crc != crc {
            return Err(self.damaged("the checksum of a block is wrong"));
        }
        self.block = block;
        self.offset += (BLOCK_HEADER_BYTES + self.block.len()) as u64;
        self.content_bytes += u64::from(len);
        self.end = End::NotYet;
        Ok(true)
    }

    fn read_trailer(&mut self, crc: u32) -> Result<(), BlockError> {
        let content_bytes = self.fetch(8)?;
        if chain(self.crc, 0, &content_bytes) != crc || self.content_bytes.to_le_bytes() != content_bytes[..]
        {
            return Err(self.damaged("the trailer does not fit what is before it"));
        }
        self.offset += TRAILER_BYTES as u64;
        match self.fetch(1) {
            Err(BlockError { flaw: Flaw::Short, .. }) => {}
            Err(error) => return Err(error),
            Ok(_) => return Err(self.error(Flaw::Excess)),
        }
        self.end = End::Good;
        Ok(())
    }

    fn fetch(&mut self, len: usize) -> Result<Vec<u8>, BlockError> {
        let mut bytes = vec![0; len];
        self.source.read_exact(&mut bytes).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => self.error(Flaw::Short),
            _ => self.error(Flaw::Io(source)),
        })?;
        Ok(bytes)
    }

    fn error(&self, flaw: Flaw) -> BlockError {
        BlockError { offset: self.offset, flaw }
    }
}

/// Cuts a stream into blocks. `out` takes their bytes, in order.
pub(crate) struct BlockWriter {
    crc: u32,
    content_bytes: u64,
    /// Room for the header of a block, then its data.
    block: Vec<u8>,
}

impl BlockWriter {
    /// Goes on behind `header`, which [`Format::header`] made.
    pub fn after(header: &[u8]) -> BlockWriter {
        let crc = header.last_chunk().map_or(0, |crc| u32::from_le_bytes(*crc));
        BlockWriter { crc, content_bytes: 0, block: vec![0; BLOCK_HEADER_BYTES] }
    }

    /// Takes at most as much of `data` as fills a block; returns how much.
    pub fn write<E>(&mut self, data: &[u8], out: impl FnOnce(&[u8]) -> Result<(), E>) -> Result<usize, E> {
        let taken = data.len().min(BLOCK_HEADER_BYTES + BLOCK_BYTES_MAX - self.block.len());
        self.block.extend_from_slice(&data[..taken]);
        if self.block.len() == BLOCK_HEADER_BYTES + BLOCK_BYTES_MAX {
            self.write_block(out)?;
        }
        Ok(taken)
    }

    /// Ends the stream; returns how many bytes of data there were.
    pub fn finish<E>(mut self, mut out: impl FnMut(&[u8]) -> Result<(), E>) -> Result<u64, E> {
        self.write_block(&mut out)?;
        let content_bytes = self.content_bytes.to_le_bytes();
        let crc = chain(self.crc, 0, &content_bytes);
        out(&[&0u32.to_le_bytes()[..], &crc.to_le_bytes(), &content_bytes].concat())?;
        Ok(self.content_bytes)
    }

    fn write_block<E>(&mut self, out: impl FnOnce(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let data = &self.block[BLOCK_HEADER_BYTES..];
        if data.is_empty() {
            return Ok(());
        }
        let len = data.len() as u32;
        self.crc = chain(self.crc, len, data);
        self.content_bytes += u64::from(len);
        self.block[..4].copy_from_slice(&len.to_le_bytes());
        self.block[4..8].copy_from_slice(&self.crc.to_le_bytes());
        out(&self.block)?;
        self.block.truncate(BLOCK_HEADER_BYTES);
        Ok(())
    }
}

/// The checksum of a block or trailer that follows one with checksum `before`.
fn chain(before: u32, len: u32, data: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(before, &len.to_le_bytes()), data)
}
