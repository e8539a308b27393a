//! An archive: the replicated state of an ensemble at one moment, in one file that explains itself.
//!
//! Its content is that of a snapshot, a stream of bytes that means nothing here, in the same blocks. No byte is
//! handed out that was not checked, and the end is reported only after the trailer. The format is told in
//! `docs/disk-format.md`.
//!
//! An archive lies outside of members' disks and is read from wherever its bytes come, so this takes any stream.

use std::io;

use zke_tree::{EnsembleId, MemberId};
use zke_wire::Zxid;

use crate::blocks::{BlockError, BlockReader, BlockWriter, Flaw, Format};
use crate::codec::{Fields, put_log_id, take_log_id};
use crate::log::LogId;

/// What archives are called; shown to people and part of the operator's contract.
pub const EXTENSION: &str = "zks";

/// Of what this build writes, and the newest that it reads.
pub const FORMAT_VERSION: u8 = FORMAT.version;

pub(crate) const FORMAT: Format = Format { magic: *b"zke-arch", version: 1, header_bytes_max: 512 };

/// What an archive says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveHeader {
    /// Whose state it is.
    pub ensemble: EnsembleId,
    /// From which member it was taken.
    pub member: MemberId,
    /// The last entry in it.
    pub last: LogId,
    /// The last zxid in it.
    pub zxid: Zxid,
    /// When it was taken, in ms since the Unix epoch, by the clock of whoever took it.
    pub created_ms: i64,
    /// Of the member; at most 255 bytes, what is longer is cut.
    pub server_version: String,
}

/// Why an archive cannot be read. None of these is worth a retry with the same file, but for `Io`.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("{file} is no archive: it does not begin as one; name a .{EXTENSION} file that zkd wrote")]
    NotAnArchive { file: String },
    #[error("{file} is damaged at byte {offset}: {what}; copy it anew or use another archive")]
    Damaged { file: String, offset: u64, what: &'static str },
    #[error(
        "{file} is cut short: it ends in what begins at byte {offset}; copy it anew or use another archive"
    )]
    Cut { file: String, offset: u64 },
    #[error("{file} goes on after its end at byte {offset}; copy it anew or use another archive")]
    Appended { file: String, offset: u64 },
    #[error("{file} has archive format {found}, this build reads up to {supported}; use a newer build")]
    Newer { file: String, found: u8, supported: u8 },
    #[error("cannot read {file} behind byte {offset}")]
    Io {
        file: String,
        offset: u64,
        #[source]
        source: io::Error,
    },
}

/// The content of an archive, through [`io::Read`]. It ends, with `Ok(0)`, only when the whole stream was good; damage
/// is an error whose source is an [`ArchiveError`].
pub struct ArchiveReader<R> {
    blocks: BlockReader<R>,
    name: String,
    header: ArchiveHeader,
}

impl<R: io::Read> ArchiveReader<R> {
    /// `name` is for messages.
    pub fn open(source: R, name: &str) -> Result<Self, ArchiveError> {
        let opened = BlockReader::open(source, &FORMAT);
        let (blocks, content) = opened.map_err(|error| into_archive(name, error))?;
        let malformed = || into_archive(name, blocks.damaged("a field of the header is malformed"));
        let header = decode(&content).ok_or_else(malformed)?;
        Ok(ArchiveReader { blocks, name: name.to_owned(), header })
    }

    pub fn header(&self) -> &ArchiveHeader {
        &self.header
    }

    /// Reads to the end, keeping nothing.
    pub fn verify(mut self) -> Result<ArchiveHeader, ArchiveError> {
        self.blocks.verify().map_err(|error| into_archive(&self.name, error))?;
        Ok(self.header)
    }
}

impl<R: io::Read> io::Read for ArchiveReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.blocks.read(buf).map_err(|error| io::Error::other(into_archive(&self.name, error)))
    }
}

/// Takes the content of an archive through [`io::Write`]. Without [`ArchiveWriter::finish`] it is cut short.
pub struct ArchiveWriter<W> {
    sink: W,
    blocks: BlockWriter,
}

impl<W: io::Write> ArchiveWriter<W> {
    pub fn create(mut sink: W, header: &ArchiveHeader) -> io::Result<Self> {
        let header = FORMAT.header(&encode(header));
        sink.write_all(&header)?;
        Ok(ArchiveWriter { sink, blocks: BlockWriter::after(&header) })
    }

    /// Ends the archive and gives back what it was written to; whoever has it flushes and syncs.
    pub fn finish(self) -> io::Result<W> {
        let ArchiveWriter { mut sink, blocks } = self;
        blocks.finish(|bytes| sink.write_all(bytes))?;
        Ok(sink)
    }
}

impl<W: io::Write> io::Write for ArchiveWriter<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.blocks.write(data, |bytes| self.sink.write_all(bytes))
    }

    /// Blocks are full but for the last one: only [`ArchiveWriter::finish`] writes that.
    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

fn encode(header: &ArchiveHeader) -> Vec<u8> {
    let mut content = header.ensemble.0.to_vec();
    content.extend_from_slice(&header.member.0.to_le_bytes());
    put_log_id(&mut content, header.last);
    content.extend_from_slice(&header.zxid.0.to_le_bytes());
    content.extend_from_slice(&header.created_ms.to_le_bytes());
    let mut version = header.server_version.as_str();
    while version.len() > usize::from(u8::MAX) {
        version = &version[..version.floor_char_boundary(version.len() - 1)];
    }
    content.push(version.len() as u8);
    content.extend_from_slice(version.as_bytes());
    content
}

fn decode(content: &[u8]) -> Option<ArchiveHeader> {
    let mut fields = Fields(content);
    let (ensemble, member) = (EnsembleId(fields.array()?), MemberId(fields.u64()?));
    let last = take_log_id(&mut fields)?;
    let (zxid, created_ms) = (Zxid(fields.u64()? as i64), fields.u64()? as i64);
    let len = usize::from(fields.u8()?);
    let server_version = String::from_utf8(fields.bytes(len)?.to_vec()).ok()?;
    fields.end()?;
    Some(ArchiveHeader { ensemble, member, last, zxid, created_ms, server_version })
}

fn into_archive(name: &str, BlockError { offset, flaw }: BlockError) -> ArchiveError {
    let file = name.to_owned();
    match flaw {
        Flaw::Io(source) => ArchiveError::Io { file, offset, source },
        Flaw::OtherFormat => ArchiveError::NotAnArchive { file },
        Flaw::Newer { found } => ArchiveError::Newer { file, found, supported: FORMAT.version },
        Flaw::Short => ArchiveError::Cut { file, offset },
        Flaw::Excess => ArchiveError::Appended { file, offset },
        Flaw::Damaged(what) => ArchiveError::Damaged { file, offset, what },
    }
}
