//! Every test, cheapest first, and what each stage took.

use std::time::Duration;

use anyhow::{Result, bail};
use zke_e2e::checkout::Checkout;
use zke_e2e::packages;
use zke_e2e::program::Program;
use zke_e2e::progress::{Progress, clock};

use crate::{differences, gaps, kazoo, local, torture, up};

/// No stage may use up the whole of what continuous integration grants.
const STAGE_LIMIT: Duration = Duration::from_secs(45 * 60);

/// Cargo's arguments of each stage that needs no cluster. Tests alone ask for some features, so the workspace has to compile
/// without them too.
const STAGES: [(&str, &[&str]); 4] = [
    ("format", &["fmt", "--all", "--check"]),
    ("compile without tests", &["check", "--locked", "--workspace"]),
    ("lints", &["clippy", "--locked", "--workspace", "--all-targets", "--", "--deny", "warnings"]),
    ("unit tests and simulation", &["test", "--locked", "--workspace", "--no-fail-fast"]),
];

/// What clients see of Apache ZooKeeper and of zkd, side by side.
const DIFFERENCES: &str = "differences to ZooKeeper";

/// Of zkd alone: ZooKeeper's would take minutes, and a figure is no reason to fail on a busy machine.
const GAPS: &str = "gaps without an acknowledged write";

/// Tests on the local Kubernetes are ignored by plain `cargo test`. The whole workspace is named, here and below: for
/// one package Cargo would choose other features of the libraries and compile all of them again.
///
/// Each of these has a namespace of its own and waits most of its time, for pods and deadlines; so two go at a time.
const IN_NAMESPACES: &[&str] = &[
    "test",
    "--locked",
    "--workspace",
    "--test",
    "backup",
    "--test",
    "documents",
    "--test",
    "operations",
    "--",
    "--ignored",
    "--test-threads=2",
    "--nocapture",
];

/// These change nodes, the operator or the quick-start ensemble, so they run one by one.
const ON_THE_CLUSTER: &[&str] = &[
    "test",
    "--locked",
    "--workspace",
    "--test",
    "ensemble",
    "--test",
    "local_cluster",
    "--test",
    "quickstart",
    "--",
    "--ignored",
    "--test-threads=1",
    "--nocapture",
];

const CLUSTER_STAGES: [(&str, &[&str]); 2] = [
    ("tests on the local Kubernetes, two at a time", IN_NAMESPACES),
    ("tests on the local Kubernetes", ON_THE_CLUSTER),
];

/// Faults of real disks, which only root can cause.
const FAULTS: &[&str] = &[
    "test",
    "--locked",
    "--workspace",
    "--test",
    "members",
    "--",
    "--ignored",
    "--test-threads=1",
    "--nocapture",
];

/// The quick rows of `cargo xtask torture` once. They wait most of their time, so two go at a time.
const TORTURE: &[&str] = &[
    "test",
    "--locked",
    "--workspace",
    "--test",
    "torture",
    "--",
    "--ignored",
    "--test-threads=2",
    "--nocapture",
];

/// Clients as their users have them, with three members on the loopback. They wait most of their time, so two go at a
/// time.
const CLIENTS: &[&str] = &[
    "test",
    "--locked",
    "--workspace",
    "--test",
    "clients",
    "--",
    "--ignored",
    "--test-threads=2",
    "--nocapture",
];

/// Ends the cluster again and again, so only where none is running.
const LIFE_CYCLE: &[&str] = &[
    "test",
    "--locked",
    "--workspace",
    "--test",
    "life_cycle",
    "--",
    "--ignored",
    "--test-threads=1",
    "--nocapture",
];

pub fn test(checkout: &Checkout, progress: &Progress) -> Result<()> {
    let was_running = local::is_running(checkout)?;
    let outcome = run_stages(checkout, was_running, progress);
    let ended = if was_running { Ok(()) } else { local::down(checkout, progress) };
    progress.say("\nStages and what they took:");
    for (name, elapsed) in progress.ledger() {
        progress.say(&format!("  {:>10}  {name}", clock(elapsed)));
    }
    outcome.and(ended)
}

/// Goes on after a failed stage, so that one run tells everything; only a cluster that does not start ends it.
fn run_stages(checkout: &Checkout, was_running: bool, progress: &Progress) -> Result<()> {
    let mut failed = Vec::new();
    for (name, arguments) in STAGES {
        if !stage(checkout, progress, name, arguments)? {
            failed.push(name);
        }
    }
    progress.say("\n=== kazoo's own test suite: cargo xtask kazoo");
    if let Err(error) = kazoo::run(checkout, &kazoo::Options::default(), progress) {
        progress.say(&format!("{error:#}"));
        failed.push("kazoo's own test suite");
    }
    if !stage(checkout, progress, "clients in Rust, Python and Java", CLIENTS)? {
        failed.push("clients in Rust, Python and Java");
    }
    progress.say("\n=== differences to ZooKeeper: cargo xtask differences");
    let alike =
        progress.timed(DIFFERENCES, || differences::run(checkout, &differences::Options::quick(), progress));
    if let Err(error) = alike {
        progress.say(&format!("error: {error:#}"));
        failed.push(DIFFERENCES);
    }
    progress.say(
        "\n=== gaps without an acknowledged write: cargo xtask gaps --only zkd --runs 5, of the debug build",
    );
    if let Err(error) = progress.timed(GAPS, || gaps::test(checkout, progress)) {
        progress.say(&format!("error: {error:#}"));
        failed.push(GAPS);
    }
    local::parts(checkout, progress)?;
    if !stage(checkout, progress, "faults of real disks", FAULTS)? {
        failed.push("faults of real disks");
    }
    packages::install_programs(&torture::NEEDS, progress)?;
    if !stage(checkout, progress, "faults on real processes", TORTURE)? {
        failed.push("faults on real processes");
    }
    if was_running {
        progress.say("\nA cluster is running, so the tests that start and end one are left out.");
    } else if !stage(checkout, progress, "life of the local cluster", LIFE_CYCLE)? {
        failed.push("life of the local cluster");
    }
    up::up(checkout, progress)?;
    for (name, arguments) in CLUSTER_STAGES {
        if !stage(checkout, progress, name, arguments)? {
            failed.push(name);
        }
    }
    match failed.as_slice() {
        [] => Ok(()),
        failed => bail!("failed: {}", failed.join(", ")),
    }
}

/// Runs Cargo on this terminal: its own closing lines are the result that people and machines read.
fn stage(checkout: &Checkout, progress: &Progress, name: &str, arguments: &[&str]) -> Result<bool> {
    progress.say(&format!("\n=== {name}: cargo {}", arguments.join(" ")));
    progress.timed(name, || {
        Program::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .directory(checkout.root())
            .args(arguments)
            // What an error says is enough, and stands last if no trace of the test's own frames follows it.
            .env("RUST_BACKTRACE", "0")
            .within(STAGE_LIMIT)
            .shown()
    })
}
