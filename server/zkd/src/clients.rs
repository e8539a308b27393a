//! What every connection of this process shares, and the limits they are held to.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use zke_consensus::{Ensemble, NotServing, Serving};
use zke_tree::Term;
use zke_wire::FrameDecoder;

use crate::access::Access;
use crate::barriers::Barriers;
use crate::config::Config;
use crate::hub::Hub;
use crate::open_files;
use crate::stats::Stats;
use crate::turns::Turns;

/// ZooKeeper's own at the start: client requests, server packets, sessions and warnings.
const TRACE_MASK: i64 = 306;

/// An election is over long before.
const READ_ONLY_DELAY_MIN: Duration = Duration::from_secs(2);

/// The client side of one process.
pub struct Clients {
    pub ensemble: Ensemble,
    pub hub: Arc<Hub>,
    pub stats: Arc<Stats>,
    pub config: Config,
    pub access: Arc<Access>,
    pub frames: FrameDecoder,
    pub barriers: Barriers,
    /// Of those who ask for long lists.
    pub turns: Turns,
    /// ZooKeeper's trace mask: kept and shown for tools that set it. What is logged here is chosen by `RUST_LOG`.
    pub trace_mask: AtomicI64,
    /// Cancelled once, when this process takes no more requests: what was read is answered, then connections close.
    pub stop: CancellationToken,
    /// `maxCnxns`, and at most what the limit on open files leaves for sockets of clients.
    connections_max: usize,
    seats: Mutex<Seats>,
    leading: Mutex<Option<(Term, Instant)>>,
}

impl Clients {
    pub fn new(
        ensemble: Ensemble,
        hub: Arc<Hub>,
        stats: Arc<Stats>,
        config: Config,
        access: Access,
    ) -> Arc<Self> {
        hub.reached(&ensemble.state().read());
        let by_files = open_files::raise().saturating_sub(open_files::RESERVED);
        let connections_max = config.max_cnxns.map_or(by_files, |max| by_files.min(max.get() as usize));
        Arc::new(Self {
            ensemble,
            hub,
            stats,
            frames: FrameDecoder::new(config.max_message_len),
            config,
            access: Arc::new(access),
            barriers: Barriers::default(),
            turns: Turns::default(),
            trace_mask: AtomicI64::new(TRACE_MASK),
            stop: CancellationToken::new(),
            connections_max,
            seats: Mutex::default(),
            leading: Mutex::default(),
        })
    }

    /// What goes on beside the connections: lets clients in while the ensemble says so, takes read barriers, and
    /// looks for new certificates and users.
    /// Runs until the ensemble ends.
    pub async fn run(&self) {
        tokio::select! {
            () = self.follow_serving() => {}
            () = self.barriers.run(&self.ensemble, &self.hub) => {}
            () = self.access.follow_files() => {}
        }
        self.hub.serve(false);
    }

    async fn follow_serving(&self) {
        let mut serving = self.ensemble.serving();
        let mut lost: Option<Instant> = None;
        let mut alone = pin!(sleep(self.read_only_delay()));
        loop {
            let now = *serving.borrow_and_update();
            match now {
                Serving::No(NotServing::NoLease) => drop(lost.get_or_insert_with(Instant::now)),
                Serving::No(_) => {}
                Serving::Yes => {
                    if let Some(lost) = lost.take() {
                        let ms = u64::try_from(lost.elapsed().as_millis()).unwrap_or(u64::MAX);
                        self.stats.unavailable_ms.record(ms);
                    }
                }
            }
            self.hub.serve(now == Serving::Yes && !self.stop.is_cancelled());
            alone.as_mut().reset(tokio::time::Instant::now() + self.read_only_delay());
            let may_read = self.config.read_only_mode
                && matches!(now, Serving::No(NotServing::NoLease | NotServing::CatchingUp));
            tokio::select! {
                changed = serving.changed() => if changed.is_err() { return },
                () = &mut alone, if may_read => {
                    if !self.stop.is_cancelled() {
                        self.hub.serve_read_only();
                    }
                    if serving.changed().await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// How long a member looks for a quorum before it serves without one: as ZooKeeper.
    fn read_only_delay(&self) -> Duration {
        let tick_ms = u64::try_from(self.config.tick_ms).unwrap_or_default();
        READ_ONLY_DELAY_MIN.max(Duration::from_millis(tick_ms))
    }

    /// Since this process was first seen to lead in `term`, by whoever asked for its figures.
    pub fn leading_for(&self, term: Term, now: Instant) -> Duration {
        let mut leading = self.leading.lock();
        let (_, since) = *leading.filter(|(led, _)| *led == term).get_or_insert((term, now));
        *leading = Some((term, since));
        now.duration_since(since)
    }

    /// Counts a connection from `address`; `None` if it is one too many.
    pub fn seat(self: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        let max_client_cnxns = self.config.max_client_cnxns;
        let mut seats = self.seats.lock();
        let from_there = seats.per_address.get(&address).copied().unwrap_or_default();
        if seats.total >= self.connections_max || max_client_cnxns.is_some_and(|max| from_there >= max.get())
        {
            return None;
        }
        seats.total += 1;
        seats.per_address.insert(address, from_there + 1);
        Some(Seat { clients: Arc::clone(self), address })
    }
}

/// How many connections there are, before and after their handshake.
#[derive(Debug, Default)]
struct Seats {
    total: usize,
    /// Addresses without a connection are not kept.
    per_address: HashMap<IpAddr, u32>,
}

/// One connection's place under the limits; given back on drop.
pub struct Seat {
    clients: Arc<Clients>,
    address: IpAddr,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.clients.seats.lock();
        seats.total -= 1;
        if let Entry::Occupied(mut from_there) = seats.per_address.entry(self.address) {
            *from_there.get_mut() -= 1;
            if *from_there.get() == 0 {
                from_there.remove();
            }
        }
    }
}
