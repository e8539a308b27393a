//! `zke-differential`: random programs of client requests on Apache ZooKeeper and on zkd, and whether both answer alike.
//!
//! It speaks to two servers that somebody else has started (`cargo xtask differences`), which must be alone, fresh, and
//! configured alike. Everything that a client can see is compared: see [`show`] for what is taken for equal.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that cannot go on fails"))]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use zke_wire::OpCode;

use crate::pair::Pair;
use crate::program::{Action, Program};

mod connection;
mod control;
mod generate;
mod pair;
mod program;
mod run;
mod show;

/// So that a long run is seen to get on: some 10,000 operations.
const PROGRAMS_PER_LINE: usize = 300;

#[derive(Parser, Debug)]
struct Arguments {
    #[arg(long)]
    zookeeper: SocketAddr,
    #[arg(long)]
    zkd: SocketAddr,
    /// Run programs until clients have asked for this many operations.
    #[arg(long, default_value_t = 3_000)]
    operations: usize,
    /// Of the first program; the others follow.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run only these steps of that one program.
    #[arg(long, value_delimiter = ',')]
    steps: Option<Vec<usize>>,
    /// Stop behind this many differences.
    #[arg(long, default_value_t = 1)]
    differences: usize,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether there was no difference.
fn run(arguments: &Arguments) -> Result<bool> {
    let mut pair = Pair::connect(arguments.zookeeper, arguments.zkd)?;
    if let Some(steps) = &arguments.steps {
        let numbers: BTreeSet<usize> = steps.iter().copied().collect();
        let difference = pair.run(arguments.seed, Some(&numbers))?.difference;
        println!("{}", difference.as_ref().map_or("no difference".to_owned(), ToString::to_string));
        return Ok(difference.is_none());
    }
    let begun = Instant::now();
    let mut tally = Tally::default();
    for seed in arguments.seed.. {
        let outcome = pair.run(seed, None)?;
        tally.add(&outcome.program, outcome.seen);
        if let Some(difference) = outcome.difference {
            println!("{}\n", pair.shrink(difference)?);
            tally.differences += 1;
        }
        if tally.programs % PROGRAMS_PER_LINE == 0 {
            println!("… {} operations", tally.operations());
        }
        if tally.operations() >= arguments.operations || tally.differences >= arguments.differences {
            break;
        }
    }
    println!("{} in {:.1} s", tally.summary(), begun.elapsed().as_secs_f64());
    Ok(tally.differences == 0)
}

/// What was run.
#[derive(Default)]
struct Tally {
    programs: usize,
    by_kind: BTreeMap<String, usize>,
    seen: usize,
    differences: usize,
}

impl Tally {
    fn add(&mut self, program: &Program, seen: usize) {
        self.programs += 1;
        self.seen += seen;
        for (_, step) in &program.steps {
            *self.by_kind.entry(kind(&step.action)).or_default() += 1;
        }
    }

    fn operations(&self) -> usize {
        self.by_kind.values().sum()
    }

    fn summary(&self) -> String {
        let kinds: Vec<String> = self.by_kind.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        format!(
            "{}\n{} operations in {} programs, {} replies and events compared: {} differences",
            kinds.join(", "),
            self.operations(),
            self.programs,
            self.seen,
            self.differences
        )
    }
}

fn kind(action: &Action) -> String {
    match action {
        Action::Ask(request) => format!("{:?}", request.op()),
        Action::Malformed { op, .. } => {
            OpCode::from_i32(*op).map_or("unknown".to_owned(), |op| format!("malformed {op:?}"))
        }
        Action::Bytes(_) => "bytes".to_owned(),
        Action::Connect { .. } => "connect".to_owned(),
        Action::Disconnect => "disconnect".to_owned(),
        Action::Reconnect { .. } => "reconnect".to_owned(),
        Action::Expire => "expire".to_owned(),
    }
}
