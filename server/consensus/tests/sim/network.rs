//! A network in memory: every frame takes a time drawn from the seed, and members can be cut off.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use openraft_rt_sim::SimRuntime;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::mpsc;
use zke_consensus::PeerNode;
use zke_consensus::peer::{FrameStream, Hello, Transport};
use zke_consensus::{AsyncRuntime, Ensemble};

/// A frame takes between these, in microseconds: a datacenter's network with a slow moment now and then.
const LATENCY_US: std::ops::Range<u64> = 50..2_000;

#[derive(Clone)]
pub struct SimNetwork {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    random: StdRng,
    listeners: BTreeMap<String, (usize, Ensemble<SimRuntime>)>,
    cut_off: BTreeSet<usize>,
}

impl SimNetwork {
    pub fn new(seed: u64) -> SimNetwork {
        let inner = Inner {
            random: StdRng::seed_from_u64(seed),
            listeners: BTreeMap::new(),
            cut_off: BTreeSet::new(),
        };
        SimNetwork { inner: Arc::new(Mutex::new(inner)) }
    }

    pub fn listen(&self, address: &str, member: usize, ensemble: Ensemble<SimRuntime>) {
        self.inner.lock().listeners.insert(address.to_owned(), (member, ensemble));
    }

    pub fn forget(&self) {
        self.inner.lock().listeners.clear();
    }

    pub fn cut_off(&self, member: usize) {
        self.inner.lock().cut_off.insert(member);
    }

    pub fn heal(&self) {
        self.inner.lock().cut_off.clear();
    }

    fn latency(&self) -> Duration {
        Duration::from_micros(self.inner.lock().random.random_range(LATENCY_US))
    }

    fn connected(&self, one: usize, other: usize) -> bool {
        let cut_off = &self.inner.lock().cut_off;
        one == other || !cut_off.contains(&one) && !cut_off.contains(&other)
    }

    async fn open(self, from: usize, to: PeerNode, hello: Hello) -> io::Result<FrameStream> {
        SimRuntime::sleep(self.latency()).await;
        let listener = self.inner.lock().listeners.get(&to.address).cloned();
        let (member, ensemble) = listener.ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionRefused))?;
        if !self.connected(from, member) {
            // Packets vanish: the caller learns it from its own deadline, or here after a long while.
            SimRuntime::sleep(Duration::from_secs(5)).await;
            return Err(io::ErrorKind::TimedOut.into());
        }
        let (callers_near, callers_far) = FrameStream::pair();
        let (listeners_near, listeners_far) = FrameStream::pair();
        let serving = ensemble.accept(hello, None, listeners_near)?;
        SimRuntime::spawn(serving);
        let FrameStream { outgoing: to_caller, incoming: from_caller } = callers_far;
        let FrameStream { outgoing: to_listener, incoming: from_listener } = listeners_far;
        SimRuntime::spawn(self.clone().carry((from, member), from_caller, to_listener));
        SimRuntime::spawn(self.carry((member, from), from_listener, to_caller));
        Ok(callers_near)
    }

    /// Carries frames one way, in order, each with its own delay. While the link is cut they wait, as TCP's would.
    async fn carry(self, ends: (usize, usize), mut from: mpsc::Receiver<Bytes>, to: mpsc::Sender<Bytes>) {
        while let Some(frame) = from.recv().await {
            SimRuntime::sleep(self.latency()).await;
            while !self.connected(ends.0, ends.1) {
                if to.is_closed() {
                    return;
                }
                SimRuntime::sleep(Duration::from_millis(20)).await;
            }
            if to.send(frame).await.is_err() {
                return;
            }
        }
    }
}

pub struct SimTransport {
    network: SimNetwork,
    member: usize,
}

impl SimTransport {
    pub fn new(network: SimNetwork, member: usize) -> SimTransport {
        SimTransport { network, member }
    }
}

impl Transport for SimTransport {
    fn open(&self, to: PeerNode, hello: Hello) -> BoxFuture<'static, io::Result<FrameStream>> {
        Box::pin(self.network.clone().open(self.member, to, hello))
    }
}
