//! The daemon: clients, probes and people on one side, the ensemble on the other.
//!
//! A request's way: [`listener`] accepts, [`entrance`] does TLS, [`handshake`] gets the connection a session, [`socket`] turns bytes into
//! [`requests`]; a write goes to the ensemble and comes back through [`hub`] when it is applied, a read is evaluated
//! against this member's state; [`connection`] keeps both in the session's order with its [`fifo`].
//!
//! Never serves a client outside the ensemble's serving lease, and never blocks the thread that applies the log.

pub mod access;
pub mod activity;
mod admin;
pub mod audit;
pub mod barriers;
pub mod clients;
pub mod commands;
pub mod config;
pub mod connection;
pub mod digest_log;
pub mod entrance;
pub mod fifo;
pub mod figures;
pub mod four_letter;
pub mod handshake;
#[cfg(any(test, fuzzing))]
pub mod hostile;
pub mod http;
pub mod hub;
pub mod identity;
pub mod jaas;
pub mod listener;
pub mod logging;
pub mod metrics;
pub mod open_files;
pub mod pending;
mod quota_log;
pub mod reads;
mod replies;
pub mod requests;
pub mod sasl;
pub mod shutdown;
pub mod socket;
pub mod start;
pub mod stats;
pub mod tls;
pub mod turns;
pub mod view;
pub mod workers;
