//! A member's disk that can lose its power: ext4 in a file, and what stands in the file is what a power loss leaves.
//!
//! What a member writes stays in the pages of the mounted file system until it is synced, or until the kernel finds the
//! time; only then is it in the file below. So a copy of that file, taken when the member is gone and before the file
//! system is asked for anything, is the disk as it was when the power went off, and its journal is played as after one.
//!
//! The journal is written by a sync alone (`commit`), so that nothing of it moves while the file is copied.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use zke_e2e::program::Program;

/// Two segments of the log, preallocated, and snapshots. The file has holes where nothing was written.
const BYTES: u64 = 512 << 20;
/// Longer than any run, in seconds.
const COMMIT_INTERVAL_S: u32 = 3_600;

#[derive(Debug)]
pub struct Platter {
    file: PathBuf,
    mounted: PathBuf,
}

impl Platter {
    /// An empty disk, mounted on a new directory, for as long as this process's mounts live.
    pub fn make(mounted: &Path) -> Result<Platter> {
        let file = mounted.with_extension("ext4");
        let made = File::create(&file).and_then(|image| image.set_len(BYTES));
        made.with_context(|| format!("make {}", file.display()))?;
        Program::new("mkfs.ext4").args(["-q", "-F"]).arg(&file).run()?;
        fs::create_dir_all(mounted).context("make a place for a disk")?;
        let platter = Platter { file, mounted: mounted.to_owned() };
        platter.mount()?;
        Ok(platter)
    }

    /// Leaves what was synced, and what else happened to be written. Nobody may have a file open there.
    pub fn lose_power(&self) -> Result<()> {
        let left = self.file.with_extension("left");
        Program::new("cp").arg("--sparse=always").args([&self.file, &left]).run()?;
        Program::new("umount").arg(&self.mounted).run()?;
        Program::new("mv").args([&left, &self.file]).run()?;
        self.mount()
    }

    fn mount(&self) -> Result<()> {
        let options = format!("loop,commit={COMMIT_INTERVAL_S}");
        Program::new("mount").args(["-o", &options]).args([&self.file, &self.mounted]).run()
    }
}
