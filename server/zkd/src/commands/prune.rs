//! `zkd prune`: removes archives with their manifests.
//!
//! It never touches what is not an archive below the folder that was named.

use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};

use clap::Args;
use zke_storage::archive::EXTENSION;

use super::ReportTo;
use super::report::{Failure, Outcome, Reason, Report};

#[derive(Debug, Clone, Args)]
pub struct Prune {
    /// The folder for archives
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Archives in it, as reports name them
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) report: ReportTo,
}

impl Prune {
    pub(super) fn run(&self) -> Outcome<Report> {
        // All are looked at before the first one goes.
        for path in &self.paths {
            check(path)?;
        }
        let mut removed = 0;
        for path in &self.paths {
            removed += usize::from(remove(&self.dir, path)?);
        }
        let gone = self.paths.len() - removed;
        let message = format!("removed {removed} archives; {gone} were gone already");
        Ok(Report { reason: Reason::Succeeded, message, artifact: None })
    }
}

fn check(path: &Path) -> Outcome<()> {
    let inside = path.components().all(|component| matches!(component, Component::Normal(_)));
    if inside && path.extension().is_some_and(|extension| extension == EXTENSION) {
        return Ok(());
    }
    let message = format!("{} is no archive below the folder: name it as reports do", path.display());
    Err(Failure::new(Reason::InvalidRequest, message))
}

/// False if it is not there.
fn remove(dir: &Path, path: &Path) -> Outcome<bool> {
    let failed = |attempt: &'static str| {
        move |error: io::Error| Failure::io(format_args!("{attempt} {}", path.display()), &error)
    };
    let dir = fs::canonicalize(dir).map_err(failed("find the folder of"))?;
    let archive = dir.join(path);
    let parent = archive.parent().unwrap_or(&dir);
    let parent = match fs::canonicalize(parent) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        parent => parent.map_err(failed("find the folder of"))?,
    };
    if !parent.starts_with(&dir) {
        let message = format!("{} leads out of the folder by a link", path.display());
        return Err(Failure::new(Reason::InvalidRequest, message));
    }
    // The manifest goes first: an archive without one does not count.
    let manifest = archive.with_extension("json");
    let had_manifest = remove_file(&manifest).map_err(failed("remove the manifest of"))?;
    let had_archive = remove_file(&archive).map_err(failed("remove"))?;
    File::open(&parent).and_then(|folder| folder.sync_all()).map_err(failed("sync the folder of"))?;
    Ok(had_manifest || had_archive)
}

fn remove_file(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prune(dir: &Path, paths: &[&str]) -> Outcome<Report> {
        let paths = paths.iter().map(PathBuf::from).collect();
        Prune { dir: dir.to_owned(), paths, report: ReportTo { report: None } }.run()
    }

    #[test]
    fn an_archive_goes_with_its_manifest_and_a_missing_one_is_fine() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("e5")).unwrap();
        for name in ["a.zks", "a.json", "b.zks", "b.json"] {
            fs::write(temp.path().join("e5").join(name), name).unwrap();
        }
        let report = prune(temp.path(), &["e5/a.zks", "e5/gone.zks", "e6/gone.zks"]).unwrap();
        assert_eq!(report.message, "removed 1 archives; 2 were gone already");
        let mut left: Vec<_> =
            fs::read_dir(temp.path().join("e5")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["b.json", "b.zks"]);
    }

    #[test]
    fn nothing_outside_of_the_folder_is_touched() {
        let temp = tempfile::tempdir().unwrap();
        let (dir, outside) = (temp.path().join("archives"), temp.path().join("outside"));
        fs::create_dir(&dir).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("a.zks"), "a").unwrap();
        fs::write(dir.join("b.zks"), "b").unwrap();
        std::os::unix::fs::symlink(&outside, dir.join("link")).unwrap();
        let absolute = outside.join("a.zks");
        let bad =
            ["../outside/a.zks", absolute.to_str().unwrap(), "link/a.zks", "./../outside/a.zks", "b", ""];
        for path in bad {
            let failure = prune(&dir, &["b.json.zks", path]).unwrap_err();
            assert_eq!(failure.reason, Reason::InvalidRequest, "{path}");
        }
        assert!(outside.join("a.zks").exists() && dir.join("b.zks").exists());
    }
}
