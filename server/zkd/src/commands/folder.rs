//! A folder of archives, as `zkd backup` fills it.
//!
//! An archive there is `NAME.zks` with a manifest `NAME.json`, which is written last: one without a manifest was not
//! finished and does not count. What is being written is called `.tmp`, and goes when it is given up.

use std::io::{self, Read, Write};

use serde_json::Value;
use zke_storage::archive::EXTENSION;
use zke_storage::disk::replace_file;
use zke_storage::{ArchiveHeader, ArchiveWriter, Disk, DiskFile, StorageError};

use super::file::{Verified, verify_stream};
use super::report::{Failure, Outcome, Reason};

/// How much may be written before it is synced, so that the last fsync does not take as long as the whole.
const SYNC_EVERY_BYTES: u64 = 16 << 20;
/// A manifest is a few hundred bytes.
const MANIFEST_BYTES_MAX: usize = 16 << 10;

/// The archives of one ensemble.
pub struct Folder<D: Disk> {
    disk: D,
}

impl<D: Disk> Folder<D> {
    pub fn new(disk: D) -> Folder<D> {
        Folder { disk }
    }

    /// The archive of this name, if it is finished and every byte of it is good.
    pub fn kept(&self, name: &str) -> Outcome<Option<Verified>> {
        let Some(manifest) = self.read_manifest(name)? else { return Ok(None) };
        let sha256 = manifest.get("sha256").and_then(Value::as_str).unwrap_or_default();
        match self.verify(&archive_name(name), Some(sha256)) {
            Ok(verified) => Ok(Some(verified)),
            Err(failure) if failure.reason == Reason::IoFailed => Err(failure),
            Err(failure) => {
                eprintln!("taking the archive anew: {}", failure.message);
                Ok(None)
            }
        }
    }

    /// Begins an archive. It exists once [`Written::publish`] returned.
    pub fn begin(&self, name: &str, header: &ArchiveHeader) -> Outcome<Unfinished<D>> {
        let unfinished = format!("{}.tmp", archive_name(name));
        match self.disk.remove(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Failure::io(format_args!("remove {unfinished}"), &error));
            }
            _ => {}
        }
        let created = self.disk.create(&unfinished);
        let file = created.map_err(|error| Failure::io(format_args!("create {unfinished}"), &error))?;
        // From here on it is removed again whatever happens.
        let guard = Guard { disk: self.disk.clone(), name: Some(unfinished.clone()) };
        let sink = Sink { file, at: 0, unsynced: 0 };
        let writer = ArchiveWriter::create(sink, header);
        let writer = writer.map_err(|error| Failure::io(format_args!("write {unfinished}"), &error))?;
        Ok(Unfinished { writer, guard, name: name.to_owned() })
    }

    fn verify(&self, file: &str, sha256: Option<&str>) -> Outcome<Verified> {
        let opened = self.disk.open(file);
        let file_handle = opened.map_err(|error| Failure::io(format_args!("open {file}"), &error))?;
        let source = Source { file: file_handle, at: 0 };
        verify_stream(io::BufReader::with_capacity(1 << 20, source), file, sha256)
    }

    fn read_manifest(&self, name: &str) -> Outcome<Option<Value>> {
        let name = manifest_name(name);
        let file = match self.disk.open(&name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::io(format_args!("open {name}"), &error)),
        };
        let mut text = vec![0; MANIFEST_BYTES_MAX];
        let read = file.read_at(0, &mut text);
        let len = read.map_err(|error| Failure::io(format_args!("read {name}"), &error))?;
        // One that cannot be read counts as none: the archive is taken anew.
        Ok(serde_json::from_slice(&text[..len]).ok())
    }

    fn remove_if_there(&self, name: &str) -> Outcome<()> {
        match self.disk.remove(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Failure::io(format_args!("remove {name}"), &error))
            }
            _ => Ok(()),
        }
    }
}

pub(super) fn archive_name(name: &str) -> String {
    format!("{name}.{EXTENSION}")
}

pub(super) fn manifest_name(name: &str) -> String {
    format!("{name}.json")
}

/// An archive being written. Dropped, it leaves nothing.
pub struct Unfinished<D: Disk> {
    writer: ArchiveWriter<Sink<D::File>>,
    guard: Guard<D>,
    name: String,
}

impl<D: Disk> Unfinished<D> {
    /// Adds content.
    pub fn write(&mut self, data: &[u8]) -> Outcome<()> {
        self.writer.write_all(data).map_err(|error| self.guard.failed("write", &error))
    }

    /// All content is there: makes it durable, under a name that does not count yet.
    pub fn close(self) -> Outcome<Written<D>> {
        let Unfinished { writer, guard, name } = self;
        let sink = writer.finish().map_err(|error| guard.failed("write", &error))?;
        sink.file.sync_data().map_err(|error| guard.failed("sync", &error))?;
        Ok(Written { guard, name })
    }
}

/// A durable archive that nobody has read back yet. Dropped, it leaves nothing.
pub struct Written<D: Disk> {
    guard: Guard<D>,
    name: String,
}

impl<D: Disk> Written<D> {
    /// What the file is called as yet.
    pub fn file(&self) -> &str {
        self.guard.name.as_deref().unwrap_or_default()
    }

    /// Reads it back, gives it its name, and writes the manifest that `manifest` makes of what was read.
    pub fn publish(self, manifest: impl FnOnce(&Verified) -> Value) -> Outcome<Verified> {
        let Written { mut guard, name } = self;
        let folder = Folder { disk: guard.disk.clone() };
        let (archive, unfinished) = (archive_name(&name), guard.name.clone().unwrap_or_default());
        let mut verified = folder.verify(&unfinished, None)?;
        verified.path = archive.clone();
        // That of an archive which was found bad must not stand beside the new one for a moment.
        folder.remove_if_there(&manifest_name(&name))?;
        folder.disk.rename(&unfinished, &archive).map_err(|error| guard.failed("rename", &error))?;
        guard.name = Some(archive);
        folder.disk.sync_dir().map_err(|error| guard.failed("sync the folder of", &error))?;
        let text = manifest(&verified).to_string();
        let written = replace_file(&folder.disk, &manifest_name(&name), text.as_bytes());
        written.map_err(|error| storage(&error))?;
        guard.name = None;
        Ok(verified)
    }
}

/// What a failed write of a small file means.
pub(super) fn storage(error: &StorageError) -> Box<Failure> {
    match error {
        StorageError::Io { attempt, file, source } => Failure::io(format_args!("{attempt} {file}"), source),
        StorageError::InUse { .. } => Failure::new(Reason::InUse, error.to_string()),
        _ => Failure::new(Reason::IoFailed, error.to_string()),
    }
}

/// Removes a file unless it is finished.
struct Guard<D: Disk> {
    disk: D,
    name: Option<String>,
}

impl<D: Disk> Guard<D> {
    fn failed(&self, attempt: &str, error: &io::Error) -> Box<Failure> {
        let name = self.name.as_deref().unwrap_or_default();
        Failure::io(format_args!("{attempt} {name}"), error)
    }
}

impl<D: Disk> Drop for Guard<D> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // Best effort: it means nothing without a manifest, and is swept a day later.
            let _ = self.disk.remove(name);
        }
    }
}

/// A file that grows at its end.
struct Sink<F> {
    file: F,
    at: u64,
    unsynced: u64,
}

impl<F: DiskFile> Write for Sink<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(self.at, bytes)?;
        self.at += bytes.len() as u64;
        self.unsynced += bytes.len() as u64;
        if self.unsynced >= SYNC_EVERY_BYTES {
            self.file.sync_data()?;
            self.unsynced = 0;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file from its beginning.
struct Source<F> {
    file: F,
    at: u64,
}

impl<F: DiskFile> Read for Source<F> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.file.read_at(self.at, buf)?;
        self.at += len as u64;
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use zke_storage::disk::Fault;
    use zke_storage::{LogId, SimDisk};
    use zke_tree::{EnsembleId, MemberId};
    use zke_wire::Zxid;

    use super::*;

    fn header() -> ArchiveHeader {
        ArchiveHeader {
            ensemble: EnsembleId([1; 16]),
            member: MemberId(2),
            last: LogId { term: 3, index: 4 },
            zxid: Zxid(5),
            created_ms: 6,
            server_version: "0.1.0".to_owned(),
        }
    }

    fn take(disk: &SimDisk, content: &[u8]) -> Outcome<Verified> {
        let mut unfinished = Folder::new(disk.clone()).begin("daily", &header())?;
        unfinished.write(content)?;
        unfinished.close()?.publish(|verified| json!({ "sha256": verified.sha256 }))
    }

    #[test]
    fn an_archive_is_there_with_its_manifest_and_found_again() {
        let disk = SimDisk::new(1);
        let taken = take(&disk, &[7; 600_000]).unwrap();
        assert_eq!((taken.header.clone(), taken.path.as_str()), (header(), "daily.zks"));
        let disk = disk.crash();
        assert_eq!(disk.list().unwrap(), ["daily.json", "daily.zks"]);
        let folder = Folder::new(disk.clone());
        assert_eq!(folder.kept("daily").unwrap(), Some(taken));
        assert_eq!(folder.kept("other").unwrap(), None);
        assert!(disk.flip("daily.zks", 1_000, 1));
        assert_eq!(folder.kept("daily").unwrap(), None);
        take(&disk, b"anew").unwrap();
        assert!(folder.kept("daily").unwrap().is_some());
    }

    #[test]
    fn a_full_volume_is_named_and_nothing_stays_on_it() {
        let whole = SimDisk::new(1);
        take(&whole, &[7; 600_000]).unwrap();
        for fault in [Fault::NoSpace, Fault::Eio] {
            for operation in 0..whole.operations() {
                let disk = SimDisk::new(1);
                disk.inject(operation, fault);
                let Err(failure) = take(&disk, &[7; 600_000]) else { continue };
                let expected = if fault == Fault::NoSpace { Reason::NoSpace } else { Reason::IoFailed };
                assert_eq!(failure.reason, expected, "operation {operation}: {}", failure.message);
                let said = &failure.message;
                assert!(said.starts_with("cannot ") && !said.contains("could not"), "{said}");
                let left: Vec<_> =
                    disk.list().unwrap().into_iter().filter(|name| name.starts_with("daily.zks")).collect();
                assert!(left.is_empty(), "operation {operation}: {left:?}");
                assert_eq!(Folder::new(disk.clone()).kept("daily").unwrap(), None);
                take(&disk, b"anew").unwrap();
            }
        }
    }

    #[test]
    fn power_loss_at_any_moment_leaves_a_whole_archive_or_none_that_counts() {
        let whole = SimDisk::new(1);
        take(&whole, &[7; 600_000]).unwrap();
        for operation in 0..whole.operations() {
            let disk = SimDisk::new(operation);
            disk.inject(operation, Fault::PowerLoss);
            assert!(take(&disk, &[7; 600_000]).is_err());
            let disk = disk.crash();
            // Reads every byte of it if there is a manifest; a bad one would be taken anew.
            if Folder::new(disk.clone()).read_manifest("daily").unwrap().is_some() {
                assert!(Folder::new(disk.clone()).kept("daily").unwrap().is_some(), "operation {operation}");
            }
            take(&disk, b"anew").unwrap();
        }
    }
}
