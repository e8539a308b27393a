//! A client of the protocol for load generation and tests. It is no product: programs that use ZooKeeper have client
//! libraries of their own, which reconnect, retry and keep watches; this one does none of it.
//!
//! One [`Connection`] is one TCP connection that speaks for one session. Requests are queued without waiting and leave
//! together; replies come one by one, matched to their requests. Nothing happens beside the caller: no task, no timer,
//! no ping that it did not send. What to do about a lost connection or an expired session is its decision.
//!
//! Promises: a reply that is not the next in line is an error, never a wrong answer; what waits is bounded by the
//! caller's own window; many requests cost one write, many replies one read, and no buffer is allocated anew for them.

mod connection;
mod error;

pub use connection::{Connection, Message, Reply, new_session, same_session};
pub use error::ClientError;
