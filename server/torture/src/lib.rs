//! Real faults on real processes, judged by the checker.
//!
//! A run is one [`Row`](rows::Row) of the test plan with one seed: some `zkd` processes, each in a network namespace of its
//! own, random clients on all of them, and faults at random moments. Then everything is healed, everybody has to serve and
//! to be served again, the tree is read back from every member, and [`zke_check`] judges what the clients saw.
//!
//! Promises: whatever a run makes goes with its process, since it lives in namespaces that nothing else uses
//! ([`isolation`]); nothing but its folder is left behind. A run that finds something keeps the history and the logs.
//!
//! Never: a fault to anything outside of the run's own namespaces. Never part of a release image.

pub mod campaign;
pub mod isolation;
pub mod rows;
pub mod run;

mod admin;
mod client;
mod ensemble;
mod judge;
mod load;
mod network;
mod platter;
mod record;
mod scene;
mod wall_clock;
