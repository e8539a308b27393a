//! What every connection of this process shares, and the limits they are held to.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use zke_consensus::{Ensemble, Serving};
use zke_tree::Term;
use zke_wire::FrameDecoder;

use crate::access::Access;
use crate::barriers::Barriers;
use crate::config::Config;
use crate::hub::Hub;
use crate::open_files;
use crate::stats::Stats;

/// The client side of one process.
pub struct Clients {
    pub ensemble: Ensemble,
    pub hub: Arc<Hub>,
    pub stats: Arc<Stats>,
    pub config: Config,
    pub access: Arc<Access>,
    pub frames: FrameDecoder,
    pub barriers: Barriers,
    /// Cancelled once, when this process takes no more requests: what was read is answered, then connections close.
    pub stop: CancellationToken,
    /// What the limit on open files leaves for sockets of clients.
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
        Arc::new(Self {
            ensemble,
            hub,
            stats,
            frames: FrameDecoder::new(config.max_message_len),
            config,
            access: Arc::new(access),
            barriers: Barriers::default(),
            stop: CancellationToken::new(),
            connections_max: open_files::raise().saturating_sub(open_files::RESERVED),
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
        loop {
            let now = *serving.borrow_and_update();
            self.hub.serve(now == Serving::Yes && !self.stop.is_cancelled());
            if serving.changed().await.is_err() {
                return;
            }
        }
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
