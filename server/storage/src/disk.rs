//! The seam between what we write and what it is written to.
//!
//! One flat directory of files. The contract is that of POSIX at its weakest, which is what [`SimDisk`] plays:
//! - Bytes written are visible at once and durable only after [`DiskFile::sync_data`] returned `Ok`.
//! - A name created, renamed or removed is visible at once and durable only after [`Disk::sync_dir`] returned `Ok`;
//!   syncing the file does not make its name durable.
//! - After a failed sync nobody knows what is durable: the same process must not try again.
//!
//! What changes something is `#[track_caller]`, which holds for every implementation: see [`Point`].

#[cfg(feature = "fault")]
mod crash;
mod flushes;
mod point;
mod read_only;
mod real;
mod sim;

use std::io;

use crate::StorageError;
pub use flushes::{FlushTimes, Flushes};
pub use point::Point;
pub use read_only::{ReadOnlyDisk, ReadOnlyFile};
pub use real::RealDisk;
pub use sim::{Fault, SimDisk, SimFile};

/// A directory that one process owns. Clones are handles to the same directory.
pub trait Disk: Clone + Send + Sync + 'static {
    type File: DiskFile;

    /// Creates a new, empty file. An existing name is an error.
    #[track_caller]
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Opens an existing file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// All names, sorted, so that nothing depends on the order in which a file system returns them.
    fn list(&self) -> io::Result<Vec<String>>;

    #[track_caller]
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Atomically gives `from` the name `to`, replacing what had it.
    #[track_caller]
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes every create, rename and remove so far durable.
    #[track_caller]
    fn sync_dir(&self) -> io::Result<()>;

    /// How many bytes new files may take.
    fn available_bytes(&self) -> io::Result<u64>;
}

/// An open file. It stays usable after its name was renamed or removed.
pub trait DiskFile: Send + Sync + 'static {
    /// Writes all of `bytes`, growing the file as needed.
    #[track_caller]
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Reads up to `buf.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// In bytes.
    fn len(&self) -> io::Result<u64>;

    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// Makes contents and length durable.
    #[track_caller]
    fn sync_data(&self) -> io::Result<()>;

    /// Fills the file with zeros from its end up to `len` bytes. Written, not reserved: an fdatasync over blocks that
    /// were written before needs no journal commit (measured: 101 us instead of 164).
    fn fill_zeros(&self, len: u64) -> io::Result<()> {
        static CHUNK: [u8; 64 * 1024] = [0; 64 * 1024];
        let mut at = self.len()?;
        while at < len {
            let chunk = usize::try_from(len - at).unwrap_or(usize::MAX).min(CHUNK.len());
            self.write_at(at, &CHUNK[..chunk])?;
            at += chunk as u64;
        }
        Ok(())
    }

    /// Makes sure of room for `len` bytes, which read as zeros: as [`DiskFile::fill_zeros`], but where the file system
    /// can do it without writing them, it does.
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.fill_zeros(len)
    }
}

/// Reads exactly `buf.len()` bytes.
pub(crate) fn read_exact_at(file: &impl DiskFile, offset: u64, buf: &mut [u8]) -> io::Result<()> {
    match file.read_at(offset, buf)? {
        n if n == buf.len() => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// What a file is called while it is written. Such a file means nothing, and is removed when it is found.
pub(crate) const UNFINISHED: &str = ".tmp";

/// Writes `name` anew, so that a crash leaves the old content or the new one, and the new one once this returns `Ok`.
pub fn replace_file(disk: &impl Disk, name: &str, content: &[u8]) -> Result<(), StorageError> {
    let unfinished = format!("{name}{UNFINISHED}");
    let failed = |attempt| move |source| StorageError::io(attempt, name, source);
    match disk.remove(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("clear the way for")(error));
        }
        _ => {}
    }
    let file = disk.create(&unfinished).map_err(failed("create"))?;
    file.write_at(0, content).map_err(failed("write"))?;
    file.sync_data().map_err(failed("sync"))?;
    disk.rename(&unfinished, name).map_err(failed("replace"))?;
    disk.sync_dir().map_err(failed("sync the directory of"))
}

/// The whole of a small file; `None` when it does not exist. Reading stops after `limit` bytes.
pub(crate) fn read_file(disk: &impl Disk, name: &str, limit: usize) -> Result<Option<Vec<u8>>, StorageError> {
    let file = match disk.open(name) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StorageError::io("open", name, error)),
    };
    let mut content = vec![0; limit];
    let read = file.read_at(0, &mut content).map_err(|e| StorageError::io("read", name, e))?;
    content.truncate(read);
    Ok(Some(content))
}
