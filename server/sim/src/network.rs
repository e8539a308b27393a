//! A network in memory: every frame takes a time drawn from the seed; ways can be cut, slowed down and broken.
//!
//! It carries streams, as TCP does: what arrives of a stream arrives in order and once. So a frame is lost only together
//! with its stream and all behind it, and comes twice or out of order where the sender sends it again on another stream.
//! While a way is cut, frames on it wait, as TCP's would, and arrive late.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
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

/// Members are numbered below it, clients from it on.
pub const FIRST_CLIENT: usize = 100;

/// How long frames take, and how often a stream breaks.
#[derive(Debug, Clone)]
pub struct Weather {
    pub latency_us: Range<u64>,
    /// The stream of one frame in so many breaks; 0 for none.
    pub breaks_one_in: u32,
}

impl Default for Weather {
    /// A datacenter's network with a slow moment now and then.
    fn default() -> Weather {
        Weather { latency_us: 50..2_000, breaks_one_in: 0 }
    }
}

#[derive(Clone)]
pub struct SimNetwork {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    random: StdRng,
    listeners: BTreeMap<String, (usize, Ensemble<SimRuntime>)>,
    /// From, to.
    cut: BTreeSet<(usize, usize)>,
    weather: Weather,
    /// How often each machine was unplugged: streams of an earlier time are broken.
    unplugged: BTreeMap<usize, u64>,
    carried_bytes: u64,
    /// Streams that members wanted to open to nobody who listens.
    refused: u64,
}

/// The two machines of a stream, as they were when it was opened.
#[derive(Clone, Copy)]
struct Ends {
    from: usize,
    to: usize,
    times_unplugged: (u64, u64),
}

impl SimNetwork {
    pub fn new(seed: u64) -> SimNetwork {
        let inner = Inner {
            random: StdRng::seed_from_u64(seed),
            listeners: BTreeMap::new(),
            cut: BTreeSet::new(),
            weather: Weather::default(),
            unplugged: BTreeMap::new(),
            carried_bytes: 0,
            refused: 0,
        };
        SimNetwork { inner: Arc::new(Mutex::new(inner)) }
    }

    pub fn listen(&self, address: &str, member: usize, ensemble: Ensemble<SimRuntime>) {
        self.inner.lock().listeners.insert(address.to_owned(), (member, ensemble));
    }

    pub fn forget(&self) {
        self.inner.lock().listeners.clear();
    }

    /// The process on this machine is gone: its streams break, and nobody listens.
    pub fn unplug(&self, member: usize) {
        let mut inner = self.inner.lock();
        *inner.unplugged.entry(member).or_default() += 1;
        inner.listeners.retain(|_, (listening, _)| *listening != member);
    }

    /// Both ways between one member and all others.
    pub fn cut_off(&self, member: usize) {
        let others = (0..FIRST_CLIENT).filter(|other| *other != member);
        self.inner.lock().cut.extend(others.flat_map(|other| [(member, other), (other, member)]));
    }

    /// One way each.
    pub fn cut(&self, ways: impl IntoIterator<Item = (usize, usize)>) {
        self.inner.lock().cut.extend(ways);
    }

    pub fn heal(&self) {
        self.inner.lock().cut.clear();
    }

    pub fn set_weather(&self, weather: Weather) {
        self.inner.lock().weather = weather;
    }

    /// Of all frames that went on their way, whether or not they arrived.
    pub fn carried_bytes(&self) -> u64 {
        self.inner.lock().carried_bytes
    }

    /// How many streams of members found nobody who listens.
    pub fn refused(&self) -> u64 {
        self.inner.lock().refused
    }

    fn latency(&self) -> Duration {
        let mut inner = self.inner.lock();
        let range = inner.weather.latency_us.clone();
        Duration::from_micros(inner.random.random_range(range))
    }

    fn breaks_now(&self) -> bool {
        let mut inner = self.inner.lock();
        let one_in = inner.weather.breaks_one_in;
        one_in > 0 && inner.random.random_ratio(1, one_in)
    }

    fn connected(&self, from: usize, to: usize) -> bool {
        !self.inner.lock().cut.contains(&(from, to))
    }

    fn times_unplugged(&self, machine: usize) -> u64 {
        self.inner.lock().unplugged.get(&machine).copied().unwrap_or_default()
    }

    fn ends(&self, from: usize, to: usize) -> Ends {
        Ends { from, to, times_unplugged: (self.times_unplugged(from), self.times_unplugged(to)) }
    }

    fn still_plugged(&self, ends: Ends) -> bool {
        (self.times_unplugged(ends.from), self.times_unplugged(ends.to)) == ends.times_unplugged
    }

    /// A handshake's way there and back. Fails late if packets vanish.
    async fn reach(&self, from: usize, to: usize) -> io::Result<()> {
        SimRuntime::sleep(self.latency()).await;
        if self.connected(from, to) && self.connected(to, from) {
            return Ok(());
        }
        // The caller learns it from its own deadline, or here after a long while.
        SimRuntime::sleep(Duration::from_secs(5)).await;
        Err(io::ErrorKind::TimedOut.into())
    }

    /// Both ends of a new stream between two machines.
    fn stream(&self, ends: Ends) -> (FrameStream, FrameStream) {
        let (callers_near, callers_far) = FrameStream::pair();
        let (listeners_near, listeners_far) = FrameStream::pair();
        let FrameStream { outgoing: to_caller, incoming: from_caller } = callers_far;
        let FrameStream { outgoing: to_listener, incoming: from_listener } = listeners_far;
        let Ends { from, to, times_unplugged: (one, other) } = ends;
        let back = Ends { from: to, to: from, times_unplugged: (other, one) };
        let broken = Arc::new(AtomicBool::new(false));
        SimRuntime::spawn(self.clone().carry(ends, broken.clone(), from_caller, to_listener));
        SimRuntime::spawn(self.clone().carry(back, broken, from_listener, to_caller));
        (callers_near, listeners_near)
    }

    /// From a client to a member: both ends of a stream.
    pub async fn connect(&self, client: usize, member: usize) -> io::Result<(FrameStream, FrameStream)> {
        let ends = self.ends(client, member);
        self.reach(client, member).await?;
        if !self.still_plugged(ends) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        Ok(self.stream(ends))
    }

    async fn open(self, from: (usize, u64), to: PeerNode, hello: Hello) -> io::Result<FrameStream> {
        let (from, times_unplugged) = from;
        SimRuntime::sleep(self.latency()).await;
        if self.times_unplugged(from) != times_unplugged {
            // A process that is gone, and does not know it yet.
            return Err(io::ErrorKind::NetworkDown.into());
        }
        let listener = self.inner.lock().listeners.get(&to.address).cloned();
        let Some((member, ensemble)) = listener else {
            self.inner.lock().refused += 1;
            return Err(io::ErrorKind::ConnectionRefused.into());
        };
        let ends = self.ends(from, member);
        if from != member {
            self.reach(from, member).await?;
        }
        if !self.still_plugged(ends) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let (callers, listeners) = self.stream(ends);
        SimRuntime::spawn(ensemble.accept(hello, None, listeners)?);
        Ok(callers)
    }

    /// Carries frames one way, in order, each with its own delay.
    async fn carry(
        self,
        ends: Ends,
        broken: Arc<AtomicBool>,
        mut from: mpsc::Receiver<Bytes>,
        to: mpsc::Sender<Bytes>,
    ) {
        while let Some(frame) = from.recv().await {
            self.inner.lock().carried_bytes += frame.len() as u64;
            SimRuntime::sleep(self.latency()).await;
            if self.breaks_now() {
                broken.store(true, Relaxed);
            }
            while !self.connected(ends.from, ends.to) {
                if to.is_closed() {
                    return;
                }
                SimRuntime::sleep(Duration::from_millis(20)).await;
            }
            if broken.load(Relaxed) || !self.still_plugged(ends) || to.send(frame).await.is_err() {
                broken.store(true, Relaxed);
                return;
            }
        }
    }
}

/// One process's way to the others.
pub struct SimTransport {
    network: SimNetwork,
    member: usize,
    times_unplugged: u64,
}

impl SimTransport {
    pub fn new(network: SimNetwork, member: usize) -> SimTransport {
        SimTransport { times_unplugged: network.times_unplugged(member), network, member }
    }
}

impl Transport for SimTransport {
    fn open(&self, to: PeerNode, hello: Hello) -> BoxFuture<'static, io::Result<FrameStream>> {
        Box::pin(self.network.clone().open((self.member, self.times_unplugged), to, hello))
    }
}
