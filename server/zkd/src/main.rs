//! The server binary.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use clap::Parser as _;
use zkd::commands;
use zkd::config::{CommandLine, Config};
use zkd::logging;
use zkd::start::{self, Ended};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<ExitCode> {
    let CommandLine { serve, command } = CommandLine::parse();
    if let Some(command) = command {
        return Ok(commands::run(command));
    }
    logging::init();
    match start::run(Config::load(&serve)?)? {
        Ended::Stopped => Ok(ExitCode::SUCCESS),
        Ended::Restart => restart(),
    }
}

/// The same program in the same process, with nothing left of this run. Returns only on failure.
fn restart() -> anyhow::Result<ExitCode> {
    let program = env::current_exe().context("cannot find this program to start it again")?;
    Err(Command::new(program).args(env::args_os().skip(1)).exec()).context("cannot start this program again")
}
