//! The folder that a run's servers keep their data in, gone when this process is, however that ends.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

/// Waits for the end of its input, which comes when this process ends, also by a signal; servers that die with it have
/// a moment to do so.
const GUARD: &str = "cat >/dev/null; sleep 1; rm -rf -- \"$1\"";

pub struct Folder {
    path: PathBuf,
    guard: Child,
}

impl Folder {
    /// A new folder below `base`, which other runs may share.
    pub fn create(base: &Path) -> Result<Folder> {
        let path = base.join(format!("run-{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        let guard = Command::new("sh")
            .args(["-c", GUARD, "sh"])
            .arg(&path)
            .stdin(Stdio::piped())
            // Out of reach of the terminal's interrupt, which would end it together with this process.
            .process_group(0)
            .spawn()
            .context("start the shell that cleans up")?;
        Ok(Folder { path, guard })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        // It removes the folder; nothing can be done about one that does not go.
        let _ = self.guard.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_with_its_owner() {
        let base = std::env::temp_dir().join(format!("zke-bench-folder-{}", std::process::id()));
        let folder = Folder::create(&base).unwrap();
        fs::write(folder.path().join("file"), "x").unwrap();
        let path = folder.path().to_owned();
        drop(folder);
        assert!(!path.exists());
        fs::remove_dir(base).unwrap();
    }
}
