//! Real faults on real processes: what `docs/torture.md` describes, as long as somebody wants to wait.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use zke_e2e::checkout::Checkout;
use zke_e2e::packages;
use zke_e2e::program::Program;
use zke_e2e::progress::Progress;

/// A cold build on two slow cores.
const BUILD_LIMIT: Duration = Duration::from_secs(1_800);
/// Two nights.
const RUN_LIMIT: Duration = Duration::from_secs(48 * 3_600);
/// What it takes, by the names of programs and of Debian's packages.
pub const NEEDS: [(&str, &str); 8] = [
    ("setpriv", "util-linux"),
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("strace", "strace"),
    ("faketime", "faketime"),
    ("mkfs.ext4", "e2fsprogs"),
];

#[derive(Args, Debug)]
pub struct Options {
    /// Of these rows of the test plan; of all without it.
    #[arg(long = "row", value_name = "T2", num_args = 1..)]
    rows: Vec<String>,
    /// So many runs of each row.
    #[arg(long, default_value_t = 1)]
    runs: u64,
    /// Begin runs for so long instead, as 90s, 30m or 2h.
    #[arg(long = "for", value_name = "TIME", conflicts_with = "runs")]
    time: Option<String>,
    /// Of each row as many runs as the test plan states: most of a day.
    #[arg(long, conflicts_with_all = ["runs", "time"])]
    stated: bool,
    /// Of the first run of each row; the next run has the next one.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Members are wrong on purpose in this way, as docs/simulation.md names them; each row is to find it within its runs.
    #[arg(long)]
    mutant: Option<String>,
}

pub fn run(checkout: &Checkout, options: &Options, progress: &Progress) -> Result<()> {
    packages::install_programs(&NEEDS, progress)?;
    build(checkout, progress)?;
    let binaries = checkout.cargo_target().join("debug");
    let torture = Program::new(binaries.join("zke-torture"))
        .arg("--zkd")
        .arg(binaries.join("zkd"))
        .arg("--keep")
        .arg(checkout.path("target/torture"))
        .args(["--seed", &options.seed.to_string()])
        .args(options.rows.iter().flat_map(|row| ["--row", row]))
        .args(options.mutant.iter().flat_map(|mutant| ["--mutant", mutant]));
    let torture = match &options.time {
        Some(time) => torture.args(["--for", time]),
        None if options.stated => torture.arg("--stated"),
        None => torture.args(["--runs", &options.runs.to_string()]),
    };
    match (torture.within(RUN_LIMIT).shown()?, &options.mutant) {
        (true, _) => Ok(()),
        (false, None) => bail!("something was found"),
        (false, Some(mutant)) => bail!("some row did not find {mutant}"),
    }
}

/// By way of tests of the whole workspace, as for `cargo xtask differences`.
fn build(checkout: &Checkout, progress: &Progress) -> Result<()> {
    progress.step("build zkd and the torture", |step| {
        Program::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .directory(checkout.root())
            .args(["test", "--locked", "--workspace", "--test", "client", "--test", "torture", "--no-run"])
            .within(BUILD_LIMIT)
            .logged(&checkout.path("target/build-logs/torture.log"), step)
    })
}
