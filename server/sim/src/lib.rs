//! A whole ensemble and its clients in one thread, from one seed: virtual time, simulated disks, a simulated network.
//!
//! Members are the real ones: log, Raft, links, leases and state as in production, each driven inline. So is everything
//! between a client's bytes and the log: the [`Hub`](zkd::hub::Hub), connections with their order of requests, watches
//! and read barriers. Only sockets, the handshake's waiting and the listener are played, in [`front`].
//!
//! [`random::run`] lets random clients ask for random things while a [`nemesis`] breaks disks, processes, the network and
//! the membership, and has the checker judge what the clients saw. The same seed gives the same run, event by event.
//!
//! Never: a real clock, a thread, a file, or randomness that is not the seed's.

pub mod chronicle;
pub mod client;
pub mod commands;
pub mod front;
pub mod nemesis;
pub mod network;
pub mod random;
mod slow_disk;
mod witness;
pub mod world;

pub use chronicle::Chronicle;
pub use world::World;
