//! What one run is to do.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use clap::{Parser, ValueEnum};

#[derive(Parser, Debug)]
#[command(name = "zke-load", about = "Puts load on ZooKeeper or zkd and measures it")]
pub struct Arguments {
    /// A member to connect to; given for each. Connections are spread over them in this order.
    #[arg(long = "server", required = true, value_name = "ADDRESS")]
    pub servers: Vec<SocketAddr>,
    /// A process of the ensemble, whose CPU time and memory are measured; given for each.
    #[arg(long = "pid")]
    pub pids: Vec<u32>,
    #[arg(long, value_enum)]
    pub op: Op,
    /// Of data in each node.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(8..=1_000_000))]
    pub bytes: u32,
    #[arg(long, default_value = "16")]
    pub connections: NonZeroUsize,
    /// Requests that wait at each connection, always: each reply brings the next request.
    #[arg(long, default_value = "16")]
    pub window: NonZeroUsize,
    /// Nodes that set and get choose from; made before the load begins, unless they are there.
    #[arg(long, default_value = "10000")]
    pub keys: NonZeroUsize,
    /// Under load, before anything is counted.
    #[arg(long, default_value_t = 1_000)]
    pub warm_up_ms: u64,
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub measure_ms: u64,
}

/// What the requests are.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// setData of a random node.
    Set,
    /// getData of a random node.
    Get,
    /// Nine gets to one set.
    Mixed,
    /// create of a new node each time.
    Create,
}

impl Arguments {
    pub fn warm_up(&self) -> Duration {
        Duration::from_millis(self.warm_up_ms)
    }

    pub fn measure(&self) -> Duration {
        Duration::from_millis(self.measure_ms)
    }
}
