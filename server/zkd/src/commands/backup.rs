//! `zkd backup`: the data of an ensemble into an archive in a folder.
//!
//! What is reported as done is on the volume, was read back from it, and has a manifest. A Job that runs a second time
//! finds the archive of the first and reports that one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use rustix::fs::{Advice, fadvise};
use tonic::Streaming;
use tonic::transport::Channel;
use zke_admin::v1::admin_client::AdminClient;
use zke_admin::v1::snapshot_chunk::Part;
use zke_admin::v1::{SnapshotChunk, SnapshotHeader, SnapshotRequest};
use zke_storage::{ArchiveHeader, LogId, RealDisk};
use zke_tree::{EnsembleId, MemberId};
use zke_wire::Zxid;

use super::ReportTo;
use super::file::Verified;
use super::folder::{Folder, storage};
use super::member::{Door, runtime, status, within};
use super::report::{Failure, Outcome, Reason, Report};

/// The member writes its state down before it sends the first byte.
const FIRST_CHUNK_DEADLINE: Duration = Duration::from_secs(600);
const CHUNK_DEADLINE: Duration = Duration::from_secs(60);
/// No Job runs for so long; what it left is nobody's any more.
const SWEEP_AGE: Duration = Duration::from_secs(24 * 3_600);
/// Leaves room for extensions in a file's name.
const NAME_BYTES_MAX: usize = 200;

#[derive(Debug, Clone, Args)]
pub struct Backup {
    #[command(flatten)]
    door: Door,
    /// What the archive is called; letters, digits, '-', '_' and '.'
    #[arg(long)]
    name: String,
    /// The folder for archives; each ensemble has one of its own in it
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    #[command(flatten)]
    pub(super) report: ReportTo,
}

impl Backup {
    pub(super) fn run(&self) -> Outcome<Report> {
        if !is_name(&self.name) {
            let message =
                format!("{:?} is no name for an archive: use letters, digits, '-', '_', '.'", self.name);
            return Err(Failure::new(Reason::InvalidRequest, message));
        }
        let (verified, was_there) = runtime()?.block_on(self.take())?;
        let mut artifact = verified.artifact();
        artifact.path = format!("{}/{}", artifact.header.ensemble, artifact.path);
        let before = if was_there { "was there already: " } else { "" };
        let message = format!(
            "{before}{} holds everything up to zxid {} in {} bytes",
            artifact.path, artifact.header.zxid, artifact.size_bytes
        );
        Ok(Report { reason: Reason::Succeeded, message, artifact: Some(artifact) })
    }

    async fn take(&self) -> Outcome<(Verified, bool)> {
        let mut member = self.door.open().await?;
        let found = status(&mut member).await?;
        let ensemble: EnsembleId = found.ensemble_id.parse().map_err(|_| {
            Failure::new(
                Reason::MemberRefused,
                "the member is in no ensemble yet: there is nothing to back up",
            )
        })?;
        let path = self.to.join(ensemble.to_string());
        let disk = RealDisk::open(&path).map_err(|error| storage(&error))?;
        sweep(&path);
        let folder = Folder::new(disk);
        if let Some(kept) = folder.kept(&self.name)? {
            return Ok((kept, true));
        }
        let mut stream = Stream::begin(&mut member).await?;
        if stream.header.ensemble != ensemble {
            return Err(Failure::new(Reason::MemberRefused, "the member changed its ensemble meanwhile"));
        }
        let mut unfinished = folder.begin(&self.name, &stream.header)?;
        while let Some(data) = stream.next().await? {
            unfinished.write(&data)?;
        }
        let written = unfinished.close()?;
        forget_cached(&path.join(written.file()));
        let verified = written.publish(|verified| {
            let mut manifest = verified.artifact().to_json();
            manifest["path"] = format!("{ensemble}/{}", verified.path).into();
            manifest["createdMs"] = verified.header.created_ms.into();
            manifest
        })?;
        Ok((verified, false))
    }
}

/// The state as a member sends it.
struct Stream {
    header: ArchiveHeader,
    left_bytes: u64,
    chunks: Streaming<SnapshotChunk>,
}

impl Stream {
    async fn begin(member: &mut AdminClient<Channel>) -> Outcome<Stream> {
        let asked = member.snapshot(SnapshotRequest {});
        let answer = within(FIRST_CHUNK_DEADLINE, "its state", asked).await?;
        let mut chunks = answer.into_inner();
        let first = within(CHUNK_DEADLINE, "the first part", chunks.message()).await?;
        let Some(SnapshotChunk { part: Some(Part::Header(header)) }) = first else {
            return Err(Failure::new(
                Reason::MemberRefused,
                "the member sent no header: it is another version",
            ));
        };
        let left_bytes = header.content_bytes;
        Ok(Stream { header: to_archive(header)?, left_bytes, chunks })
    }

    /// `None` once everything that was announced came.
    async fn next(&mut self) -> Outcome<Option<Vec<u8>>> {
        match within(CHUNK_DEADLINE, "the next part", self.chunks.message()).await? {
            Some(SnapshotChunk { part: Some(Part::Data(data)) }) => {
                self.left_bytes = self.left_bytes.checked_sub(data.len() as u64).ok_or_else(not_whole)?;
                Ok(Some(data))
            }
            None if self.left_bytes == 0 => Ok(None),
            _ => Err(not_whole()),
        }
    }
}

fn not_whole() -> Box<Failure> {
    Failure::new(Reason::MemberSilent, "the member sent more or less than it announced")
}

fn to_archive(header: SnapshotHeader) -> Outcome<ArchiveHeader> {
    let ensemble = header.ensemble_id.parse();
    let ensemble = ensemble.map_err(|_| {
        Failure::new(Reason::MemberRefused, "the member sent no ensemble id: it is another version")
    })?;
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(ArchiveHeader {
        ensemble,
        member: MemberId(header.member_id),
        last: LogId { term: header.term, index: header.index },
        zxid: Zxid(header.zxid as i64),
        created_ms: i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX),
        server_version: header.server_version,
    })
}

/// So that what is read back comes from the volume. Best effort: not every file system knows it.
fn forget_cached(path: &Path) {
    if let Ok(file) = File::open(path) {
        let _ = fadvise(&file, 0, None, Advice::DontNeed);
    }
}

/// Removes what earlier runs left unfinished. Best effort: it costs room and nothing else.
fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let age = entry.metadata().and_then(|metadata| metadata.modified()).map(|time| time.elapsed());
        let is_old = matches!(age, Ok(Ok(age)) if age > SWEEP_AGE);
        if is_old && path.extension().is_some_and(|extension| extension == "tmp") {
            match fs::remove_file(&path) {
                Ok(()) => eprintln!("removed {}, which was never finished", path.display()),
                Err(error) => eprintln!("cannot remove {}: {error}", path.display()),
            }
        }
    }
}

fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.starts_with('.') && name.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_file_in_the_folder() {
        for good in ["daily", "prod-2026.11_26", "A"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", ".", "..", ".hidden", "a/b", "../a", "a b", "ä", &"x".repeat(201)] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn only_old_unfinished_files_are_swept() {
        let folder = tempfile::tempdir().unwrap();
        let old = SystemTime::now() - SWEEP_AGE - Duration::from_secs(60);
        for (name, time) in [("a.zks.tmp", old), ("b.zks.tmp", SystemTime::now()), ("c.zks", old)] {
            File::create(folder.path().join(name)).unwrap().set_modified(time).unwrap();
        }
        sweep(folder.path());
        let left = |name: &str| folder.path().join(name).exists();
        assert_eq!([left("a.zks.tmp"), left("b.zks.tmp"), left("c.zks")], [false, true, true]);
    }
}
