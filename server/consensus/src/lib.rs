//! Agreement between the members of one ensemble.
//!
//! The only crate that knows openraft. It owns the log, the replicated state and everything members say to each other:
//! Raft itself, proposals on their way to the leader, read barriers, serving leases, the expiry of sessions, and
//! membership. The decisions are in small synchronous modules ([`proposer`], `sequencer`, `session_clock`, `lease`,
//! `member`); the rest drives them.
//!
//! What it promises: a command that was accepted is applied once and in its origin's order on every member, or
//! the process ends first; a read barrier is never older than the question; a member serves only while the leader
//! knows that it does.
//!
//! What it never does: read the wall clock, draw randomness or open a socket by itself. Time, disk, network and
//! the async runtime come in, so that a whole ensemble runs in one thread from one seed (see `server/sim`).

mod acceptor;
mod administration;
mod agreement;
mod apply_level;
mod capture;
pub mod clock;
mod codec;
mod configuration;
mod ensemble;
#[cfg(feature = "fault")]
mod fault;
mod first_start;
mod flush_watch;
pub mod grpc;
#[cfg(any(test, fuzzing))]
pub mod hostile;
mod leader;
mod lease;
mod link;
mod link_frame;
mod log_size;
mod log_store;
mod member;
mod network;
mod options;
pub mod peer;
mod proposals;
pub mod proposer;
mod reaper;
mod replica;
mod restoration;
mod sequencer;
mod serving;
mod session_clock;
mod snapshots;
mod solitude;
mod space;
mod state_machine;
mod status;
mod sync_tracker;
mod transfer;
mod transfer_frame;
mod types;
mod worker;

pub use administration::{AdminError, Progress};
pub use capture::Capture;
pub use configuration::Configured;
pub use ensemble::{Drivers, Ensemble, Setup, StartError};
pub use member::Refusal;
pub use openraft::AsyncRuntime;
pub use openraft_rt_tokio::TokioRuntime;
pub use options::Options;
pub use proposer::Busy;
pub use replica::Observer;
pub use restoration::{Restoration, restore_offline};
pub use serving::{NotServing, Serving};
pub use status::{MemberStatus, Role};
pub use types::PeerNode;
