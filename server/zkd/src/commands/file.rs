//! Reading an archive from end to end: its own checksums, and that of the file as a whole.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use sha2::{Digest, Sha256};
use zke_storage::{ArchiveError, ArchiveHeader, ArchiveReader};

use super::report::{Artifact, Failure, Outcome, Reason, Report};

/// Large, so that a volume on a network is read at its speed.
const BUFFER_BYTES: usize = 1 << 20;

/// An archive of which every byte was read and found good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// As it was named.
    pub path: String,
    pub size_bytes: u64,
    pub sha256: String,
    pub header: ArchiveHeader,
}

impl Verified {
    pub fn artifact(&self) -> Artifact {
        let Verified { path, size_bytes, sha256, header } = self.clone();
        Artifact { path, size_bytes, sha256, header }
    }

    pub(super) fn into_report(self) -> Report {
        let message =
            format!("{} is whole: {} bytes, last zxid {}", self.path, self.size_bytes, self.header.zxid);
        Report { reason: Reason::Succeeded, message, artifact: Some(self.artifact()) }
    }
}

/// Reads the archive at `path`; `sha256` is what the file has to have, if that is known.
///
/// # Errors
/// A [`Failure`] that says what is wrong with it, and where.
pub fn verify(path: &Path, sha256: Option<&str>) -> Outcome<Verified> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(|error| Failure::io(format_args!("open {name}"), &error))?;
    verify_stream(BufReader::with_capacity(BUFFER_BYTES, file), &name, sha256)
}

pub(super) fn verify_stream(source: impl Read, name: &str, sha256: Option<&str>) -> Outcome<Verified> {
    let mut hashing = Hashing { source, hash: Sha256::new(), bytes: 0 };
    let verified = ArchiveReader::open(&mut hashing, name).and_then(ArchiveReader::verify);
    let header = verified.map_err(|error| because(&error))?;
    let found = hex(&hashing.hash.finalize());
    let verified = Verified { path: name.to_owned(), size_bytes: hashing.bytes, sha256: found, header };
    match sha256 {
        Some(expected) if !expected.eq_ignore_ascii_case(&verified.sha256) => Err(Box::new(Failure {
            reason: Reason::ChecksumMismatch,
            message: format!("{name} is whole, but another one: sha256 {expected} was expected"),
            artifact: Some(verified.artifact()),
        })),
        _ => Ok(verified),
    }
}

fn because(error: &ArchiveError) -> Box<Failure> {
    let reason = match error {
        ArchiveError::Newer { .. } => Reason::NewerFormat,
        ArchiveError::Io { file, source, .. } => {
            return Failure::io(format_args!("read {file}"), source);
        }
        ArchiveError::NotAnArchive { .. }
        | ArchiveError::Damaged { .. }
        | ArchiveError::Cut { .. }
        | ArchiveError::Appended { .. } => Reason::Corrupt,
    };
    Failure::new(reason, error.to_string())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

struct Hashing<R> {
    source: R,
    hash: Sha256,
    bytes: u64,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.source.read(buf)?;
        self.hash.update(&buf[..len]);
        self.bytes += len as u64;
        Ok(len)
    }
}
