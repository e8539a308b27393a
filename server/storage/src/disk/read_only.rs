//! A directory to look at: nothing in it is ever changed, not even a lock file made.
//!
//! It may be a copy, or mounted read-only. A directory that a running process uses is refused, since what is read there
//! would be of two moments.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::real::LOCK;
use super::{Disk, DiskFile};
use crate::StorageError;

/// Every call that would change something fails.
#[derive(Debug, Clone)]
pub struct ReadOnlyDisk {
    path: PathBuf,
    /// Keeps a server from starting on it meanwhile; `None` where no server ever was.
    _lock: Option<Arc<File>>,
}

impl ReadOnlyDisk {
    /// Opens `path`, which must exist.
    ///
    /// # Errors
    /// [`StorageError::InUse`] when a process uses it, [`StorageError::Io`] when it cannot be read.
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        let shown = path.display().to_string();
        fs::read_dir(path).map_err(|source| StorageError::io("open the directory", &shown, source))?;
        let lock = match File::open(path.join(LOCK)) {
            Ok(lock) => Some(lock),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(StorageError::io("open the lock file in", &shown, source)),
        };
        match lock.as_ref().map(File::try_lock_shared) {
            None | Some(Ok(())) => Ok(Self { path: path.to_owned(), _lock: lock.map(Arc::new) }),
            Some(Err(TryLockError::WouldBlock)) => Err(StorageError::InUse { directory: shown }),
            Some(Err(TryLockError::Error(source))) => Err(StorageError::io("lock", &shown, source)),
        }
    }
}

fn refused<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "this directory is only looked at"))
}

impl Disk for ReadOnlyDisk {
    type File = ReadOnlyFile;

    fn create(&self, _: &str) -> io::Result<ReadOnlyFile> {
        refused()
    }

    fn open(&self, name: &str) -> io::Result<ReadOnlyFile> {
        OpenOptions::new().read(true).open(self.path.join(name)).map(ReadOnlyFile)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        super::real::list(&self.path)
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        refused()
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        refused()
    }

    fn sync_dir(&self) -> io::Result<()> {
        refused()
    }

    /// None: nothing is ever made here.
    fn available_bytes(&self) -> io::Result<u64> {
        Ok(0)
    }
}

/// A file of a [`ReadOnlyDisk`].
#[derive(Debug)]
pub struct ReadOnlyFile(File);

impl DiskFile for ReadOnlyFile {
    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        refused()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        super::real::read_at(&self.0, offset, buf)
    }

    fn len(&self) -> io::Result<u64> {
        self.0.metadata().map(|metadata| metadata.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        refused()
    }
}
