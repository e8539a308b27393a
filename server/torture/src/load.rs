//! The random clients of a run, and what they have in common.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use zke_handle::requests::Habit;

use crate::client::Client;
use crate::record::Record;

/// Two for each of three members, so that a partition leaves some on each side.
pub const CLIENTS: usize = 6;
/// Besides, clients that only look: a member that is cut off goes on answering them, as long as it may.
const LOOKERS: usize = 3;
/// A client gives a silent member up after two thirds of five seconds, and ends then.
const END_LIMIT: Duration = Duration::from_secs(20);
/// So many are enough to see what goes wrong.
const FINDINGS_MAX: usize = 20;

pub struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

pub struct Shared {
    pub record: Arc<Record>,
    pub addresses: Vec<SocketAddr>,
    over: AtomicBool,
    last_id: AtomicU64,
    /// For each client that writes when the youngest of its acknowledged writes was asked for.
    asked_us: Mutex<Vec<u64>>,
    findings: Mutex<Vec<String>>,
}

impl Load {
    pub fn start(runtime: &Runtime, record: Arc<Record>, addresses: Vec<SocketAddr>, seed: u64) -> Load {
        let shared = Arc::new(Shared {
            record,
            addresses,
            over: AtomicBool::new(false),
            last_id: AtomicU64::new(0),
            asked_us: Mutex::new(vec![0; CLIENTS]),
            findings: Mutex::default(),
        });
        let spawn = |number| {
            let habit = if number < CLIENTS { Habit::Everything } else { Habit::Looks };
            runtime.spawn(Client::new(shared.clone(), number, habit, seed).run())
        };
        let clients = (0..CLIENTS + LOOKERS).map(spawn).collect();
        Load { shared, clients }
    }

    /// Whether some client had a write acknowledged that it asked for after this moment.
    pub fn any_wrote_since(&self, since_us: u64) -> bool {
        self.shared.asked_us.lock().iter().any(|asked_us| *asked_us > since_us)
    }

    /// Whether each had.
    pub fn all_wrote_since(&self, since_us: u64) -> bool {
        self.shared.asked_us.lock().iter().all(|asked_us| *asked_us > since_us)
    }

    /// Lets the clients close their sessions, and says what they could not write into the history.
    pub fn end(self, runtime: &Runtime) -> Result<Vec<String>> {
        let Load { shared, clients } = self;
        shared.over.store(true, Relaxed);
        runtime.block_on(async {
            for client in clients {
                match timeout(END_LIMIT, client).await {
                    Ok(ended) => ended.context("a client ended by a panic")?,
                    Err(_) => bail!("a client does not end"),
                }
            }
            Ok(shared.findings.lock().clone())
        })
    }
}

impl Shared {
    pub fn is_over(&self) -> bool {
        self.over.load(Relaxed)
    }

    pub fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Relaxed) + 1
    }

    pub fn acknowledged(&self, client: usize, asked_us: u64) {
        let mut all = self.asked_us.lock();
        all[client] = all[client].max(asked_us);
    }

    /// What is wrong whatever the rest of the history says.
    pub fn finding(&self, what: String) {
        let mut findings = self.findings.lock();
        if findings.len() < FINDINGS_MAX {
            findings.push(what);
        }
    }
}
