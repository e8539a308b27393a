//! The decisions of the operator: from what was seen to the one next step, or to the reason why there is none yet.
//!
//! [`plan`] is a pure function. It knows no clock, no Kubernetes and no network; so it can be tried against
//! thousands of failing worlds in a second, and that is where the operator's safety is shown (`tests/simulation`).
//!
//! What it promises, whatever it is shown:
//! - an ensemble id is given to disks only once (I1), and one operation runs at a time (I2);
//! - voters change only through Raft, compared with the membership that was seen (I4), and only to disks that
//!   are in sync; a pod is taken away only when its disk is proven to be outside the membership (I3);
//! - a member id is only ever used for the disk that minted it (I5);
//! - a retired disk is put to use again, under a new id, only when the leader's membership does not name its old one;
//! - a healthy member's pod is removed only while every other voter is in sync, and the next one only after its
//!   successor is in sync past what was committed then (I2, I3);
//! - a claim is deleted only when the spec says so and its disk is out of the committed membership (I7);
//! - what it does not know it does not guess: uncertainty is a [`Reason`] to wait (I9).
//!
//! What it relies on, and the controller must do:
//! - observe *after* reading the latched operation, and read claims live, not from a cache;
//! - write the latched operation, guarded by resourceVersion, *before* acting on a step, and act at most once for it;
//! - act with each step's expectation as a precondition (uid, resourceVersion, member id, config index, term).
//!
//! Backups have decisions of their own, as pure as these: [`backup`], [`removal`], [`retention`] and [`schedule`].

pub mod backup;
mod budget;
mod converge;
mod cron;
mod decide;
mod ids;
mod observed;
mod operation;
mod reason;
pub mod removal;
pub mod retention;
pub mod schedule;
mod update;

pub use budget::min_available;
pub use cron::{Cron, InvalidCron, time_zone};
pub use decide::plan;
pub use ids::{EnsembleId, InvalidId, MemberId, Revision};
pub use observed::{
    Budget, Claim, ClaimRetention, Desired, Disk, DiskState, JobState, Leader, Member, Observed, Pod,
    PodState,
};
pub use operation::{ClaimMark, Decision, Operation, OperationKind, Removal, RemovalBy, Step};
pub use reason::Reason;
