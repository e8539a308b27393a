//! Puts the load on and takes the time.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use tokio::task::{JoinSet, spawn_local};
use tokio::time::{sleep_until, timeout};
use zke_client::{ClientError, Connection, Message, new_session};
use zke_wire::{ErrorCode, Request, Response};

use crate::arguments::Arguments;
use crate::outcome::{Outcome, Tally};
use crate::processes::{self, CpuSeconds};
use crate::workload::{Asked, Asker, Workload};

/// No session expires of a machine that is busy, and none is pinged: a connection under load is heard from.
const SESSION_TIMEOUT_MS: i32 = 40_000;
/// For all that is neither load nor counted: connecting, making nodes, closing. ZooKeeper needs a few seconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// Creates on their way while nodes are made.
const NODES_WINDOW: usize = 256;

/// When replies are counted.
#[derive(Debug, Clone, Copy)]
struct Window {
    from: Instant,
    to: Instant,
}

pub async fn run(arguments: &Arguments) -> Result<Outcome> {
    let workload = Rc::new(Workload::new(arguments));
    let first = arguments.servers[0];
    timeout(PATIENCE, prepare(&workload, first)).await.context("making the nodes took too long")??;
    let opened = timeout(PATIENCE, open_all(arguments)).await;
    let connections = opened.context("opening the connections took too long")??;

    let run = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    let from = Instant::now() + arguments.warm_up();
    let window = Window { from, to: from + arguments.measure() };
    let tally = Rc::new(RefCell::new(Tally::new()));
    let mut tasks = JoinSet::new();
    for (number, connection) in connections.into_iter().enumerate() {
        let (workload, tally) = (workload.clone(), tally.clone());
        tasks.spawn_local(async move {
            let mut asker = workload.asker(number, run);
            if let Err(error) = drive(connection, &workload, &mut asker, window, &tally).await {
                let mut tally = tally.borrow_mut();
                if matches!(error, ClientError::OutOfOrder { .. }) {
                    tally.order_faults += 1;
                }
                tally.failed(|| format!("{:#}", anyhow::Error::new(error)));
            }
        });
    }
    let pids = arguments.pids.clone();
    let measured = spawn_local(async move { measure(&pids, window).await });
    let (cpu, cpu_seconds, resident) = measured.await.context("measuring failed")??;
    let ended = timeout(PATIENCE, async { while tasks.join_next().await.is_some() {} });
    ended.await.context("some requests were not answered within a minute")?;
    let tally = Rc::into_inner(tally).context("a connection goes on")?.into_inner();
    Ok(Outcome::new(tally, arguments.measure(), cpu, cpu_seconds, resident))
}

async fn measure(pids: &[u32], window: Window) -> Result<(CpuSeconds, f64, (f64, f64))> {
    sleep_until(window.from.into()).await;
    let (begun, before) = (Instant::now(), CpuSeconds::now(pids)?);
    sleep_until(window.to.into()).await;
    let (ended, after) = (Instant::now(), CpuSeconds::now(pids)?);
    Ok((after.since(before), (ended - begun).as_secs_f64(), processes::resident_mib(pids)?))
}

/// Keeps the window full until the time is over, then takes what is still on its way and ends the session.
async fn drive(
    mut connection: Connection,
    workload: &Workload,
    asker: &mut Asker<'_>,
    window: Window,
    tally: &RefCell<Tally>,
) -> Result<(), ClientError> {
    if let Some(folder) = asker.folder() {
        connection.send(&folder)?;
        connection.next().await?;
    }
    let mut waiting: VecDeque<(Instant, Asked)> = VecDeque::new();
    let mut now = Instant::now();
    loop {
        while now < window.to && connection.has_room() {
            let (asked, request) = asker.next();
            connection.send(request)?;
            waiting.push_back((now, asked));
        }
        if waiting.is_empty() {
            return connection.close().await;
        }
        let mut message = Some(connection.next().await?);
        // One look at the clock for all that one read has brought.
        now = Instant::now();
        let mut tally = tally.borrow_mut();
        while let Some(received) = message {
            if let Message::Reply(reply) = received
                && let Some((sent, asked)) = waiting.pop_front()
            {
                match workload.is_right(asker, asked, &reply.result) {
                    Ok(true) => {}
                    Ok(false) => tally.wrong_bodies += 1,
                    Err(code) => tally.failed(|| format!("a request was refused: {code:?}")),
                }
                if window.from <= now && now < window.to {
                    tally.answered(now - sent);
                }
            }
            message = connection.take()?;
        }
    }
}

async fn open_all(arguments: &Arguments) -> Result<Vec<Connection>> {
    let window = arguments.window.get();
    let mut connections = Vec::new();
    for server in arguments.servers.iter().cycle().take(arguments.connections.get()) {
        let mut connection = open(*server, window).await?;
        // A member that has not applied all nodes yet would refuse to set them.
        let synced = call(&mut connection, &Request::Sync { path: "/".to_owned() }).await?;
        ensure!(synced.is_ok(), "{server} does not sync: {synced:?}");
        connections.push(connection);
    }
    Ok(connections)
}

/// Makes the nodes unless a run before did.
async fn prepare(workload: &Workload, server: SocketAddr) -> Result<()> {
    let mut connection = open(server, NODES_WINDOW).await?;
    let last = workload.last_node().context("there are no nodes to make")?;
    if call(&mut connection, &last).await?.is_err() {
        let mut nodes = std::iter::once(workload.folder()).chain(workload.nodes());
        let mut next = nodes.next();
        while next.is_some() || connection.unanswered() > 0 {
            while connection.has_room()
                && let Some(create) = next
            {
                connection.send(&create)?;
                next = nodes.next();
            }
            if let Message::Reply(reply) = connection.next().await? {
                let made = matches!(reply.result, Ok(_) | Err(ErrorCode::NodeExists));
                ensure!(made, "a node could not be made: {:?}", reply.result);
            }
        }
    }
    Ok(connection.close().await?)
}

async fn open(server: SocketAddr, window: usize) -> Result<Connection> {
    let opened = Connection::open(server, &new_session(SESSION_TIMEOUT_MS), window).await;
    opened.with_context(|| format!("opening a session on {server} failed"))
}

/// Sends the only request and waits for the only answer.
async fn call(connection: &mut Connection, request: &Request) -> Result<Result<Response, ErrorCode>> {
    connection.send(request)?;
    loop {
        if let Message::Reply(reply) = connection.next().await? {
            return Ok(reply.result);
        }
    }
}
