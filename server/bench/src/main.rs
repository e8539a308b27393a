//! A load generator: keeps so many requests waiting at so many connections, on one thread, and prints as one line of
//! JSON what became of them. `cargo xtask bench` drives it.
//!
//! It is a program of its own, so that a benchmark's driver needs neither the protocol nor a release build, and so that
//! its CPU time can be told from the servers'.

mod arguments;
mod load;
mod outcome;
mod processes;
mod workload;

use anyhow::Context as _;
use clap::Parser as _;

use crate::arguments::Arguments;

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    // One thread, since it shares the machine with the servers that it measures.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let outcome = runtime.block_on(tokio::task::LocalSet::new().run_until(load::run(&arguments)))?;
    println!("{}", serde_json::to_string(&outcome).context("cannot print the outcome")?);
    Ok(())
}
