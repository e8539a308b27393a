//! A directory of the operating system.
//!
//! It never follows a name out of its directory, and two processes never share one: an exclusive lock on the file
//! `lock` is held until the last handle is gone, also when the process dies.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::flushes::Flushes;
use super::{Disk, DiskFile};
use crate::StorageError;

/// Holds the lock; never listed, never part of the data.
pub(super) const LOCK: &str = "lock";

/// A directory, created with mode 0700, its files with 0600: they hold passwords of sessions and data of clients.
#[derive(Debug, Clone)]
pub struct RealDisk {
    directory: Arc<Directory>,
}

#[derive(Debug)]
struct Directory {
    path: PathBuf,
    /// Kept open for `sync_dir`.
    handle: File,
    /// Closing it releases the lock.
    _lock: File,
    flushes: Arc<Flushes>,
}

impl RealDisk {
    /// Opens `path`, creating it when it does not exist, and locks it for this process.
    ///
    /// Fails with [`StorageError::InUse`] when another process has it.
    pub fn open(path: &Path) -> Result<RealDisk, StorageError> {
        let shown = path.display().to_string();
        let io = |attempt| {
            let shown = shown.clone();
            move |source| StorageError::io(attempt, &shown, source)
        };
        create_durably(path).map_err(io("create the directory"))?;
        let handle = File::open(path).map_err(io("open the directory"))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.join(LOCK))
            .map_err(io("open the lock file in"))?;
        match lock.try_lock() {
            Ok(()) => {
                let (path, flushes) = (path.to_owned(), Arc::default());
                Ok(RealDisk { directory: Arc::new(Directory { path, handle, _lock: lock, flushes }) })
            }
            Err(TryLockError::WouldBlock) => Err(StorageError::InUse { directory: shown }),
            Err(TryLockError::Error(source)) => Err(io("lock")(source)),
        }
    }

    pub fn path(&self) -> &Path {
        &self.directory.path
    }

    /// Of data of its files; those of names are rare and not counted.
    pub fn flushes(&self) -> Arc<Flushes> {
        Arc::clone(&self.directory.flushes)
    }

    fn real_file(&self, file: File) -> RealFile {
        RealFile { file, flushes: self.flushes() }
    }

    fn file(&self, name: &str) -> io::Result<PathBuf> {
        let plain = !name.is_empty() && name != "." && name != ".." && name != LOCK && !name.contains('/');
        if plain { Ok(self.directory.path.join(name)) } else { Err(io::ErrorKind::InvalidInput.into()) }
    }
}

impl Disk for RealDisk {
    type File = RealFile;

    fn create(&self, name: &str) -> io::Result<RealFile> {
        #[cfg(feature = "fault")]
        super::crash::reached(super::Point::here());
        let options = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).clone();
        options.open(self.file(name)?).map(|file| self.real_file(file))
    }

    fn open(&self, name: &str) -> io::Result<RealFile> {
        let file = OpenOptions::new().read(true).write(true).open(self.file(name)?)?;
        Ok(self.real_file(file))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        list(&self.directory.path)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        #[cfg(feature = "fault")]
        super::crash::reached(super::Point::here());
        fs::remove_file(self.file(name)?)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the disk trait; the caller syncs the directory")]
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        #[cfg(feature = "fault")]
        super::crash::reached(super::Point::here());
        fs::rename(self.file(from)?, self.file(to)?)
    }

    fn sync_dir(&self) -> io::Result<()> {
        #[cfg(feature = "fault")]
        super::crash::reached(super::Point::here());
        self.directory.handle.sync_all()
    }

    fn available_bytes(&self) -> io::Result<u64> {
        available_bytes(&self.directory.handle)
    }
}

/// A file of a [`RealDisk`].
#[derive(Debug)]
pub struct RealFile {
    file: File,
    flushes: Arc<Flushes>,
}

impl DiskFile for RealFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        #[cfg(feature = "fault")]
        super::crash::reached(super::Point::here());
        self.file.write_all_at(bytes, offset)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        read_at(&self.file, offset, buf)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.metadata().map(|metadata| metadata.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        #[cfg(feature = "fault")]
        super::crash::reached(super::Point::here());
        let begun = Instant::now();
        let synced = self.file.sync_data();
        self.flushes.record(begun.elapsed());
        synced
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, len) {
            // Over NFS before 4.2, for one.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.fill_zeros(len),
            allocated => Ok(allocated?),
        }
    }
}

/// What the volume of `directory` has left for this user.
pub(super) fn available_bytes(directory: &File) -> io::Result<u64> {
    let volume = rustix::fs::fstatvfs(directory)?;
    Ok(volume.f_bavail.saturating_mul(volume.f_frsize))
}

/// Reads up to `buf.len()` bytes; fewer only at the end of the file.
pub(super) fn read_at(file: &File, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        match file.read_at(&mut buf[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The files of a directory, sorted, but for the lock.
pub(super) fn list(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // Directories (a lost+found, say) and names that are not ours to read are no files of this disk.
        if entry.file_type()?.is_file()
            && let Ok(name) = entry.file_name().into_string()
            && name != LOCK
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Creates `path` and what is missing above it, each name made durable in the directory that holds it: else a power
/// loss could take away the directory with everything that was synced inside it.
fn create_durably(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    create_durably(parent)?;
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_directory_is_private_and_held_by_one_handle_family() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a/b");
        let disk = RealDisk::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(matches!(RealDisk::open(&path), Err(StorageError::InUse { .. })));

        let clone = disk.clone();
        drop(disk);
        assert!(matches!(RealDisk::open(&path), Err(StorageError::InUse { .. })));
        drop(clone);
        RealDisk::open(&path).unwrap();
    }

    #[test]
    fn files_keep_what_was_written_and_stay_inside() {
        let temp = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(temp.path()).unwrap();
        let file = disk.create("one").unwrap();
        assert!(disk.create("one").is_err());
        file.fill_zeros(70_000).unwrap();
        file.write_at(69_999, b"xy").unwrap();
        assert_eq!(disk.flushes().read().count, 0);
        file.sync_data().unwrap();
        let flushes = disk.flushes().read();
        assert_eq!((flushes.count, flushes.min_us), (1, flushes.max_us));
        disk.rename("one", "two").unwrap();
        disk.sync_dir().unwrap();
        assert_eq!(disk.list().unwrap(), ["two"]);
        assert!(disk.available_bytes().unwrap() > 0);
        disk.create("roomy").unwrap().allocate(70_000).unwrap();
        let roomy = disk.open("roomy").unwrap();
        let mut last = [9; 2];
        assert_eq!(
            (roomy.len().unwrap(), roomy.read_at(69_999, &mut last).unwrap(), last),
            (70_000, 1, [0, 9])
        );
        disk.remove("roomy").unwrap();
        let mut buf = [9; 8];
        assert_eq!(disk.open("two").unwrap().read_at(69_997, &mut buf).unwrap(), 4);
        assert_eq!(&buf[..4], b"\0\0xy");
        let mode = fs::metadata(temp.path().join("two")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        for outside in ["../x", "", "..", "lock"] {
            assert!(disk.create(outside).is_err(), "{outside}");
        }
    }
}
