//! A member's own time of day, which a test can set.
//!
//! A library between the process and the C library (Debian's libfaketime) answers with an offset that it reads from a file.
//! Monotonic clocks stay as they are, as on a machine whose time of day is set.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Debian has a folder for each kind of machine in it.
const LIBRARIES: &str = "/usr/lib";
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

#[derive(Debug)]
pub struct WallClock {
    library: PathBuf,
    offset: PathBuf,
}

impl WallClock {
    /// One that is right, and keeps its offset in this file.
    pub fn make(offset: PathBuf) -> Result<WallClock> {
        let library = library().context("this row needs libfaketime: install Debian's package faketime")?;
        let clock = WallClock { library, offset };
        clock.set(0)?;
        Ok(clock)
    }

    /// What a process that has this clock needs in its environment.
    pub fn environment(&self) -> [String; 4] {
        [
            format!("LD_PRELOAD={}", self.library.display()),
            format!("FAKETIME_TIMESTAMP_FILE={}", self.offset.display()),
            "FAKETIME_NO_CACHE=1".to_owned(),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
        ]
    }

    /// From now on it is ahead of the machine's by so many seconds; behind it where they are negative.
    #[expect(clippy::disallowed_methods, reason = "nobody needs it after a crash")]
    pub fn set(&self, ahead_s: i64) -> Result<()> {
        let new = self.offset.with_extension("new");
        fs::write(&new, format!("{ahead_s:+}")).context("write a clock's offset")?;
        // A process that looked at half a number would be at some other time.
        fs::rename(&new, &self.offset).context("set a clock")
    }
}

/// Whether this machine has it, and where.
pub fn library() -> Option<PathBuf> {
    let folders = fs::read_dir(Path::new(LIBRARIES)).ok()?;
    folders.flatten().map(|folder| folder.path().join(LIBRARY)).find(|library| library.is_file())
}
