//! The commands that work on a checkout: `cargo xtask --help`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use zke_e2e::checkout::Checkout;
use zke_e2e::progress::Progress;

mod bench;
mod crds;
mod differences;
mod folder;
mod gaps;
mod image;
mod kazoo;
mod local;
mod servers;
mod test;
mod torture;
mod up;
mod zookeeper;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The commands that work on a checkout of zkensemble")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start the local Kubernetes with a Ready ensemble on it; installs and builds whatever is missing.
    Up,
    /// End the local Kubernetes and remove all that it made, except build caches.
    Down,
    /// Run every test: format, lints, unit tests and simulation, then the tests on the local Kubernetes.
    Test,
    /// Build the images of server and operator into target/image, without Docker.
    Image {
        /// Also write each image as a folder in the OCI layout below this one, for `crane push` or `skopeo copy`.
        #[arg(long)]
        push_dir: Option<PathBuf>,
    },
    /// Measure zkd side by side with Apache ZooKeeper; see docs/benchmarks.md.
    Bench(bench::Options),
    /// Measure the longest gap without an acknowledged write, next to Apache ZooKeeper; see docs/benchmarks.md.
    Gaps(gaps::Options),
    /// Run kazoo's own test suite, unchanged, against zkd.
    Kazoo(kazoo::Options),
    /// Ask Apache ZooKeeper and zkd the same and compare what they answer; see docs/differences.md.
    Differences(differences::Options),
    /// Break real processes, disks and links under load and judge what clients saw; see docs/torture.md. Needs root.
    Torture(torture::Options),
    /// Write crds/*.yaml from the types in operator/api.
    Crds,
    /// The local Kubernetes alone, without operator or ensemble.
    #[command(subcommand)]
    Cluster(Cluster),
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
        Command::Up => up::up(&checkout, &progress),
        Command::Down => local::down(&checkout, &progress),
        Command::Test => test::test(&checkout, &progress),
        Command::Image { push_dir } => image::write(&checkout, push_dir.as_deref(), &progress),
        Command::Bench(options) => bench::run(&checkout, &options, &progress),
        Command::Gaps(options) => gaps::run(&checkout, &options, &progress),
        Command::Kazoo(options) => kazoo::run(&checkout, &options, &progress),
        Command::Differences(options) => differences::run(&checkout, &options, &progress),
        Command::Torture(options) => torture::run(&checkout, &options, &progress),
        Command::Crds => crds::write(&checkout),
        Command::Cluster(Cluster::Up) => local::cluster_up(&checkout, &progress).map(drop),
    }
}
