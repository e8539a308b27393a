//! kazoo's own test suite against `zkd`: all of it in two runs side by side, or what the arguments name in one.
//!
//! A run waits most of its time, for sessions to expire and servers to start, so two of them share two cores well.
//! Skipping is no way to pass: a skipped test is a failure unless it is one that a ZooKeeper here skips as well.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use zke_e2e::checkout::Checkout;
use zke_e2e::kazoo::{Ports, Suite};
use zke_e2e::program::Program;
use zke_e2e::progress::{Progress, Step};

/// A cold build on two slow cores.
const BUILD_LIMIT: Duration = Duration::from_secs(3600);

/// The files of the first run; the second has all others, so that none can be forgotten.
const FIRST_HALF: [&str; 1] = ["kazoo/tests/test_client.py"];

/// Why a ZooKeeper skips three of the tests here, too: two need a Kerberos realm, one the variables of kazoo's own CI.
const SKIPPED: [&str; 2] = ["Kerberos support not available.", "Only run build config tests on CI."];

#[derive(Args, Debug, Default)]
pub struct Options {
    /// Take this zkd instead of building one.
    #[arg(long, value_name = "FILE")]
    zkd: Option<PathBuf>,
    /// Arguments for pytest, for one run on this terminal: `-- kazoo/tests/test_lock.py -k read`.
    #[arg(last = true)]
    pytest: Vec<String>,
}

pub fn run(checkout: &Checkout, options: &Options, progress: &Progress) -> Result<()> {
    let zkd = match &options.zkd {
        Some(file) => file.canonicalize().with_context(|| format!("find {}", file.display()))?,
        None => build(checkout, progress)?,
    };
    let suite = Suite::prepare(checkout, progress)?;
    let folder = checkout.path("target/kazoo");
    if !options.pytest.is_empty() {
        return on_this_terminal(&suite, &zkd, &folder, &options.pytest);
    }
    progress.step("kazoo's own test suite, in two runs", |step| {
        let tests: [Vec<String>; 2] = [
            FIRST_HALF.iter().map(|file| (*file).to_owned()).collect(),
            std::iter::once("kazoo/tests".to_owned())
                .chain(FIRST_HALF.iter().map(|file| format!("--ignore={file}")))
                .collect(),
        ];
        let ports = Ports::find(tests.len())?;
        let outcomes: Vec<Result<String>> = thread::scope(|scope| {
            let runs: Vec<_> = (1..)
                .zip(tests.iter().zip(ports))
                .map(|(number, (tests, ports))| {
                    let (suite, zkd, folder) = (&suite, &zkd, folder.join(format!("run-{number}")));
                    scope.spawn(move || logged(suite, zkd, ports, &folder, tests, step))
                })
                .collect();
            let ended = |run: thread::ScopedJoinHandle<'_, _>| run.join().unwrap_or_else(|_| Err(anyhow!("a run panicked")));
            runs.into_iter().map(ended).collect()
        });
        for line in outcomes.iter().flatten() {
            progress.say(line);
        }
        outcomes.into_iter().collect::<Result<Vec<_>>>().map(drop)
    })
}

fn on_this_terminal(suite: &Suite, zkd: &Path, folder: &Path, arguments: &[String]) -> Result<()> {
    let folder = folder.join("run-0");
    let temporary = fresh(&folder)?;
    let [ports] = Ports::find(1)?.try_into().map_err(|_| anyhow!("one range of ports was asked for"))?;
    match suite.pytest(zkd, ports, &temporary)?.args(arguments).shown()? {
        true => Ok(()),
        false => bail!("kazoo's tests failed; what their servers left is in {}", temporary.display()),
    }
}

/// One run with its output in a file; its closing line.
fn logged(suite: &Suite, zkd: &Path, ports: Ports, folder: &Path, tests: &[String], step: &Step) -> Result<String> {
    let temporary = fresh(folder)?;
    let log = folder.join("pytest.log");
    let outcome = suite.pytest(zkd, ports, &temporary)?.arg("--color=no").args(tests).logged(&log, step);
    let text = fs::read_to_string(&log).with_context(|| format!("read {}", log.display()))?;
    outcome.with_context(|| summary(&text).join("\n"))?;
    if let Some(line) = summary(&text).into_iter().find(|line| is_unexpected_skip(line)) {
        bail!("a test was skipped that no ZooKeeper skips: {line}; see {}", log.display());
    }
    let closing = text.trim_end().lines().last().context("pytest wrote nothing")?;
    Ok(closing.to_owned())
}

/// An empty folder for temporary files below an empty `folder`.
fn fresh(folder: &Path) -> Result<PathBuf> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("empty {}", folder.display()))?;
    }
    let temporary = folder.join("tmp");
    fs::create_dir_all(&temporary).with_context(|| format!("create {}", temporary.display()))?;
    Ok(temporary)
}

/// What pytest says at the end of every test that did not pass.
fn summary(log: &str) -> Vec<&str> {
    let is_of_a_test = |line: &&str| ["FAILED ", "ERROR ", "SKIPPED "].iter().any(|word| line.starts_with(word));
    let short = log.rsplit_once("short test summary info").map_or("", |(_, short)| short);
    short.lines().filter(is_of_a_test).collect()
}

fn is_unexpected_skip(line: &str) -> bool {
    line.starts_with("SKIPPED ") && !SKIPPED.iter().any(|reason| line.ends_with(reason))
}

/// The same program that the other tests run: for one package Cargo would choose other features and build all anew.
fn build(checkout: &Checkout, progress: &Progress) -> Result<PathBuf> {
    progress.step("build zkd", |step| {
        Program::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .directory(checkout.root())
            .args(["build", "--locked", "--workspace", "--bin", "zkd"])
            .within(BUILD_LIMIT)
            .logged(&checkout.path("target/build-logs/kazoo.log"), step)
    })?;
    Ok(checkout.cargo_target().join("debug/zkd"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
kazoo/tests/test_sasl.py FAILED [ 15%]
FAILED of a server's own words
=========================== short test summary info ============================
SKIPPED [2] kazoo/tests/test_sasl.py:134: Kerberos support not available.
SKIPPED [1] kazoo/tests/test_gevent_handler.py:19: gevent not available.
FAILED kazoo/tests/test_lock.py::TestLock::test_read - AssertionError
============= 1 failed, 100 passed, 3 skipped in 108.45s (0:01:48) =============
";

    #[test]
    fn only_the_end_of_a_log_is_the_summary() {
        let lines = summary(LOG);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[2].starts_with("FAILED kazoo/tests/test_lock.py"));
    }

    #[test]
    fn a_missing_module_is_no_reason_to_skip() {
        let unexpected: Vec<_> = summary(LOG).into_iter().filter(|line| is_unexpected_skip(line)).collect();
        assert_eq!(unexpected, ["SKIPPED [1] kazoo/tests/test_gevent_handler.py:19: gevent not available."]);
    }
}
