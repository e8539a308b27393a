//! The commands that work on a checkout: `cargo xtask --help`.

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use zke_e2e::checkout::Checkout;
use zke_e2e::progress::Progress;

mod local;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The commands that work on a checkout of zkensemble")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The local Kubernetes alone, without operator or ensemble.
    #[command(subcommand)]
    Cluster(Cluster),
    /// End the local Kubernetes and remove all that it made, except build caches.
    Down,
}

#[derive(Subcommand)]
enum Cluster {
    /// Start three nodes, unless they run.
    Up,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    // The cluster's first process is this very program, started in namespaces of its own.
    let words: Vec<_> = std::env::args_os().collect();
    if let [_, inside, state] = words.as_slice()
        && inside == OsStr::new(zke_e2e::cluster::INSIDE)
    {
        return zke_e2e::inside::main(Path::new(state));
    }
    let checkout = Checkout::find()?;
    let progress = Progress::default();
    match Arguments::parse().command {
        Command::Cluster(Cluster::Up) => local::cluster_up(&checkout, &progress).map(drop),
        Command::Down => local::down(&checkout, &progress),
    }
}
