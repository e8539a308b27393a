//! The local cluster comes up from whatever it finds, and goes without a trace, however it was interrupted.
//!
//! It ends a running cluster of this checkout; `cargo xtask test` therefore runs it only where none is running.

use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use zke_e2e::checkout::Checkout;
use zke_e2e::cluster::Cluster;

fn xtask(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn succeed(arguments: &[&str]) -> Result<()> {
    let output = xtask(arguments).output().context("start xtask")?;
    ensure!(output.status.success(), "xtask {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn cluster() -> Result<Cluster> {
    Ok(Cluster::new(Checkout::find()?, "kubectl".into()))
}

fn nothing_is_left() -> Result<()> {
    let left = cluster()?.leftovers()?;
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}

/// SIGKILL, as the out-of-memory killer would.
fn kill(mut child: Child) -> Result<()> {
    child.kill().context("kill xtask")?;
    child.wait().context("wait for xtask")?;
    Ok(())
}

#[test]
#[ignore = "starts and ends the local cluster: cargo xtask test"]
fn an_interrupted_up_leaves_nothing_after_down() -> Result<()> {
    succeed(&["down"])?;
    nothing_is_left()?;
    // Before, at and after every phase: namespaces, certificates, network, containerd, API server, nodes.
    for moment_ms in [30, 150, 400, 900, 2000, 4000, 7000] {
        let up = xtask(&["cluster", "up"]).stderr(Stdio::null()).spawn().context("start xtask")?;
        thread::sleep(Duration::from_millis(moment_ms));
        kill(up)?;
        succeed(&["down"])?;
        nothing_is_left().with_context(|| format!("up was killed after {moment_ms} ms"))?;
    }
    Ok(())
}

#[test]
#[ignore = "starts and ends the local cluster: cargo xtask test"]
fn up_goes_on_after_a_killed_up_and_a_killed_cluster() -> Result<()> {
    let up = xtask(&["cluster", "up"]).stderr(Stdio::null()).spawn().context("start xtask")?;
    thread::sleep(Duration::from_millis(1500));
    kill(up)?;
    succeed(&["cluster", "up"])?;
    let started = Instant::now();
    succeed(&["cluster", "up"])?;
    let again = started.elapsed();
    ensure!(again < Duration::from_secs(15), "up on a running cluster took {again:?}");
    ensure!(!cluster()?.leftovers()?.is_empty(), "a running cluster must be seen");
    cluster()?.kill()?;
    succeed(&["cluster", "up"])?;
    succeed(&["down"])?;
    nothing_is_left()
}
