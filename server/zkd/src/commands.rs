//! The commands that end by themselves: take an archive, look at one, begin an ensemble with one, remove old ones, look at
//! a disk.
//!
//! But for `check` and `inspect`, which print, each says one sentence on stderr and, for a Job, writes one JSON object to the file that
//! `--report` names; the exit code is 0 or 1. Run twice, each does no harm.

mod backup;
mod file;
mod folder;
mod inspect;
mod member;
mod prune;
mod report;
mod restore;

use std::error::Error as _;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::config;

pub use file::{Verified, verify};
pub use folder::Folder;
pub use report::{Artifact, Failure, Reason, Report};

/// What `zkd` does besides serving.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Write the data of an ensemble to an archive
    Backup(backup::Backup),
    /// Read an archive from end to end
    Verify(Verify),
    /// Begin a new ensemble with the data of an archive
    Restore(restore::Restore),
    /// Remove archives
    Prune(prune::Prune),
    /// Look at the disk of a member that does not run, and check every byte of it; ends with 1 if something is wrong
    Inspect(inspect::Inspect),
    /// Say what each line of a zoo.cfg means here; ends with 1 if no server would start from it
    Check { file: PathBuf },
}

/// Where the outcome is written to, besides stderr.
#[derive(Debug, Clone, Args)]
pub struct ReportTo {
    /// Write the outcome to this file, as one JSON object of at most 4000 bytes
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub struct Verify {
    file: PathBuf,
    /// The checksum that the file has to have
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
    #[command(flatten)]
    report: ReportTo,
}

/// Does what was asked and tells of it.
pub fn run(command: Command) -> ExitCode {
    let (report_to, outcome) = match command {
        Command::Backup(backup) => (backup.report.clone(), backup.run()),
        Command::Verify(asked) => {
            (asked.report.clone(), verify(&asked.file, asked.sha256.as_deref()).map(Verified::into_report))
        }
        Command::Restore(restore) => (restore.report.clone(), restore.run()),
        Command::Prune(prune) => (prune.report.clone(), prune.run()),
        Command::Inspect(inspect) => return look(&inspect),
        Command::Check { file } => return check(&file),
    };
    let report = outcome.unwrap_or_else(|failure| Report::from(*failure));
    let written = report.tell(report_to.report.as_deref());
    if written && report.reason == Reason::Succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn look(inspect: &inspect::Inspect) -> ExitCode {
    let mut out = BufWriter::new(io::stdout().lock());
    let looked = inspect.run(&mut out);
    // Whoever stopped reading, such as head, has seen enough.
    let _ = out.flush();
    match looked {
        Ok(()) => ExitCode::SUCCESS,
        Err(inspect::Flaw::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(flaw) => {
            let cause = flaw.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            eprintln!("{flaw}{cause}");
            ExitCode::FAILURE
        }
    }
}

fn check(file: &Path) -> ExitCode {
    match config::check(file) {
        Ok(report) => {
            // Whoever stopped reading, such as head, has seen enough.
            let _ = write!(io::stdout(), "{report}");
            if report.starts { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            eprintln!("{error}{cause}");
            ExitCode::FAILURE
        }
    }
}
