//! Writers that find another member by themselves, and how long each went without an acknowledged write. `cargo xtask
//! gaps` drives it and does to the servers what it measures.
//!
//! The two talk in lines, so that either knows what the other has done. It says `ready` once all write; at `fault` it
//! begins to look and says `marked`; it says `calm` once all write again; at `end` it prints what it saw as one line of
//! JSON. It gives up by itself if the servers never get that far.

mod gap;
mod witness;
mod writer;

use std::cell::RefCell;
use std::io::{BufRead as _, Write as _};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::witness::{Seen, Witness};
use crate::writer::{Tally, Writer};

/// Two at each member: one could be lucky.
const WRITERS_PER_MEMBER: usize = 2;
/// All write, and go on doing so for so long.
const CALM: Duration = Duration::from_millis(500);
/// Who had no answer for so long is not calm. More than a JVM's usual pause on a busy machine.
const CALM_GAP: Duration = Duration::from_millis(250);
/// A process that was asked to end takes a moment before anybody notices.
const CALM_EARLIEST: Duration = Duration::from_secs(1);
/// For all to write: at the start, and again after the fault. ZooKeeper gives a leader that hangs ten seconds.
const CALM_LIMIT: Duration = Duration::from_secs(90);
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// For the last replies and the ends of sessions.
const END_LIMIT: Duration = Duration::from_secs(10);
/// The driver says one thing at a time.
const ORDERS: usize = 1;

#[derive(Parser, Debug)]
#[command(name = "zke-writers", about = "Writes to each member of an ensemble and measures the longest gap")]
struct Arguments {
    /// A member; given for each.
    #[arg(long = "server", required = true, value_name = "ADDRESS")]
    servers: Vec<SocketAddr>,
    /// Which of them something is to happen to, counted from 0.
    #[arg(long)]
    victim: usize,
}

#[derive(Serialize)]
struct Outcome {
    writers: Vec<writer::Outcome>,
    /// What a reader saw that stayed with the victim and had asked before it went on.
    witness: Seen,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(arguments.victim < arguments.servers.len(), "the victim is one of the servers, counted from 0");
    // One thread, since it shares the machine with the servers that it measures.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let outcome = runtime.block_on(tokio::task::LocalSet::new().run_until(run(&arguments)))?;
    say(&serde_json::to_string(&outcome).context("cannot print the outcome")?)
}

async fn run(arguments: &Arguments) -> Result<Outcome> {
    let mut orders = orders();
    let mut tasks = JoinSet::new();
    let mut tallies = Vec::new();
    for number in 0..arguments.servers.len() * WRITERS_PER_MEMBER {
        let tally = Rc::new(RefCell::new(Tally::default()));
        let writer = Writer::new(number, arguments.servers.clone(), Rc::clone(&tally));
        tasks.spawn_local(writer.run());
        tallies.push(tally);
    }
    calm(&tallies, Duration::ZERO).await.context("not all writers were served at the start")?;
    let victim = arguments.servers[arguments.victim];
    let mut witness = Witness::new(victim).await.context("cannot open a session at the member to look at")?;
    say("ready")?;

    hear(&mut orders, "fault").await?;
    for tally in &tallies {
        tally.borrow_mut().mark(Instant::now());
    }
    say("marked")?;
    calm(&tallies, CALM_EARLIEST).await.context("not all writers were served again")?;
    // Of a writer that stays, so that it was written after the fault.
    let staying = (arguments.victim + 1) % arguments.servers.len();
    let acknowledged = tallies[staying].borrow().acknowledged();
    witness.ask(&writer::node(staying), acknowledged).await;
    say("calm")?;

    hear(&mut orders, "end").await?;
    let ended = Instant::now();
    let writers = tallies.iter().enumerate();
    let writers = writers
        .map(|(number, tally)| tally.borrow_mut().end(number % arguments.servers.len(), ended))
        .collect();
    let closing = async { while tasks.join_next().await.is_some() {} };
    timeout(END_LIMIT, closing).await.context("the writers' sessions could not be closed")?;
    Ok(Outcome { writers, witness: witness.end().await })
}

/// Waits until all write without a pause that matters, not before `earliest`.
async fn calm(tallies: &[Rc<RefCell<Tally>>], earliest: Duration) -> Result<()> {
    let begun = Instant::now();
    let mut since: Option<Instant> = None;
    loop {
        let now = Instant::now();
        let all_write = tallies.iter().all(|tally| tally.borrow().wrote_within(CALM_GAP, now));
        since = all_write.then(|| since.unwrap_or(now));
        if since.is_some_and(|since| now - since >= CALM) && now - begun >= earliest {
            return Ok(());
        }
        if now - begun > CALM_LIMIT {
            let errors: Vec<_> = tallies.iter().filter_map(|tally| tally.borrow().last_error()).collect();
            let limit = CALM_LIMIT.as_secs();
            anyhow::bail!("waited {limit} s for all to write; their last errors: {}", errors.join("; "));
        }
        sleep(LOOK_INTERVAL).await;
    }
}

/// The lines of standard input, read by a thread of its own since reading them blocks.
fn orders() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(ORDERS);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

async fn hear(orders: &mut mpsc::Receiver<String>, expected: &str) -> Result<()> {
    let line = orders.recv().await.with_context(|| format!("the driver is gone, `{expected}` was next"))?;
    ensure!(line == expected, "the driver says `{line}`, and `{expected}` was next");
    Ok(())
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("cannot tell the driver")
}
