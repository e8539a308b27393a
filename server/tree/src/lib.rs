//! The replicated state machine: znodes, sessions, access control, and what watches hear of.
//!
//! [`State`] is changed only by applying the [`Proposal`]s of committed log entries, in order. It promises that members
//! which applied the same entries hold the same state, down to every zxid, time, version and name that a client can
//! compare; where a client can see the order of things, that order follows from the log too. Everything a command's
//! outcome depends on stands in the entry or in the state.
//!
//! Never: a clock, randomness, input or output, a thread, or a decision about who leads. Deadlines of sessions are kept
//! by the leader, which asks for a [`Command::CloseSession`]; files and framing of snapshots are kept by storage.
//!
//! [`WatchTable`] is local to a member and not replicated: the daemon arms watches as it answers reads and triggers
//! them with the events of what is applied.

mod acl;
mod acl_table;
mod anew;
mod arena;
mod capture;
mod child_table;
mod codec;
mod command;
mod command_codec;
mod configuration;
mod digest;
mod distinguished_name;
mod event;
#[cfg(feature = "fault")]
pub mod fault;
mod growth;
#[cfg(any(test, fuzzing))]
pub mod hostile;
mod ids;
mod level;
mod marks;
mod node;
mod owner;
mod proposal;
mod quota;
mod read;
mod record;
mod restore;
mod session;
mod snapshot;
mod state;
mod transaction;
mod tree;
mod undo;
mod watch;

pub use acl::may_read;
pub use anew::{CannotBegin, EPOCH_MARGIN, FIRST_INDEX};
pub use command::{Command, RAISE_EPOCH_MAX, WriteOp};
pub use configuration::{CONFIG_PATH, Configuration, Reconfig};
pub use event::{Applied, Event, Reply, Table};
pub use ids::{EnsembleId, LogIndex, MemberId, Origin, ParseIdError, Term};
pub use level::{ApplyLevelTooNew, OLDEST_APPLY_LEVEL, expect_apply_level, newest_apply_level};
pub use proposal::{CorruptProposal, Proposal, Settings};
pub use quota::{Measure, OverQuota};
pub use restore::{CorruptSnapshot, SnapshotReader};
pub use session::Session;
pub use snapshot::Snapshot;
pub use state::State;
pub use watch::{Missed, WatchKind, WatchTable};
