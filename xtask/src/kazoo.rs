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

/// The files of the first run, about half of the time; the second has all others, so that none can be forgotten.
const FIRST_HALF: [&str; 5] = [
    "kazoo/tests/test_client.py",
    "kazoo/tests/test_connection.py",
    "kazoo/tests/test_partitioner.py",
    "kazoo/tests/test_selectors_select.py",
    "kazoo/tests/test_watchers.py",
];

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
    let outcomes = progress
        .step("kazoo's own test suite, in two runs", |step| side_by_side(&suite, &zkd, &folder, step))?;
    for line in outcomes {
        progress.say(&line);
    }
    Ok(())
}

/// The whole suite; the closing line of each run.
fn side_by_side(suite: &Suite, zkd: &Path, folder: &Path, step: &Step) -> Result<Vec<String>> {
    let first = FIRST_HALF.map(str::to_owned).to_vec();
    let all = std::iter::once("kazoo/tests".to_owned());
    let second = all.chain(FIRST_HALF.iter().map(|file| format!("--ignore={file}"))).collect();
    let runs = [("run-1", first), ("run-2", second)];
    let ports = Ports::find(runs.len())?;
    thread::scope(|scope| {
        let running: Vec<_> = runs
            .iter()
            .zip(ports)
            .map(|((name, tests), ports)| {
                scope.spawn(move || logged(suite, zkd, ports, &folder.join(name), tests, step))
            })
            .collect();
        let outcome = |run: thread::ScopedJoinHandle<'_, _>| {
            run.join().unwrap_or_else(|_| Err(anyhow!("the thread of a run panicked")))
        };
        let (closings, failures): (Vec<_>, Vec<_>) =
            running.into_iter().map(outcome).partition(Result::is_ok);
        if failures.is_empty() {
            return closings.into_iter().collect();
        }
        let failures = failures.into_iter().filter_map(Result::err).map(|error| format!("{error:#}"));
        bail!("{}", failures.collect::<Vec<_>>().join("\n"))
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
fn logged(
    suite: &Suite,
    zkd: &Path,
    ports: Ports,
    folder: &Path,
    tests: &[String],
    step: &Step,
) -> Result<String> {
    let temporary = fresh(folder)?;
    let log = folder.join("pytest.log");
    let outcome = suite.pytest(zkd, ports, &temporary)?.arg("--color=no").args(tests).logged(&log, step);
    let text = fs::read_to_string(&log).with_context(|| format!("read {}", log.display()))?;
    let Some(summary) = Summary::read(&text) else {
        return outcome.and_then(|()| bail!("pytest ended without a closing line; see {}", log.display()));
    };
    if outcome.is_err() {
        bail!("{}\n{}\nsee {}", summary.tests.join("\n"), summary.closing, log.display());
    }
    if let Some(test) = summary.tests.iter().find(|test| is_unexpected_skip(test)) {
        bail!("a test was skipped that no ZooKeeper skips: {test}; see {}", log.display());
    }
    Ok(summary.closing.to_owned())
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

/// What pytest says at the end. More may follow in a log, from threads that outlive their tests.
struct Summary<'a> {
    /// A line for every test that failed or was skipped.
    tests: Vec<&'a str>,
    closing: &'a str,
}

impl<'a> Summary<'a> {
    fn read(log: &'a str) -> Option<Self> {
        let is_title = |line: &&str| line.starts_with('=');
        let mut before = log.lines().rev().skip_while(|line| !is_title(line));
        let closing = before.next()?;
        let mut tests: Vec<_> = before.by_ref().take_while(|line| !is_title(line)).collect();
        tests.reverse();
        // Without such a test the lines between the last two titles are something else.
        tests.retain(|line| ["FAILED ", "ERROR ", "SKIPPED "].iter().any(|word| line.starts_with(word)));
        Some(Self { tests, closing })
    }
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
Connection dropped: socket connection error: Connection refused
";

    #[test]
    fn the_summary_is_neither_what_precedes_nor_what_follows() {
        let summary = Summary::read(LOG).expect("a summary");
        assert_eq!(summary.tests.len(), 3, "{:?}", summary.tests);
        assert!(summary.tests[2].starts_with("FAILED kazoo/tests/test_lock.py"));
        assert!(summary.closing.contains("1 failed, 100 passed"));
        let passed = Summary::read("== warnings summary ==\nFutureWarning\n== 9 passed in 1.0s ==\n")
            .expect("a summary");
        assert_eq!((passed.tests.len(), passed.closing), (0, "== 9 passed in 1.0s =="));
        assert!(Summary::read("collecting ...").is_none());
    }

    #[test]
    fn a_missing_module_is_no_reason_to_skip() {
        let summary = Summary::read(LOG).expect("a summary");
        let unexpected: Vec<_> = summary.tests.into_iter().filter(|test| is_unexpected_skip(test)).collect();
        assert_eq!(unexpected, ["SKIPPED [1] kazoo/tests/test_gevent_handler.py:19: gevent not available."]);
    }
}
