//! What a random client knows and writes down, wherever it runs: in the simulation, or against real processes.
//!
//! A [`Handle`] is one process of a history, in the checker's words: a session, the requests that wait for their answers,
//! and the watches that are to be set again after a lost connection. It turns what is asked and heard into the events
//! that the checker reads. [`requests`] draws what to ask for.
//!
//! Never: a socket, a clock, or a decision of its own about when to ask or to give up.

mod handle;
pub mod requests;

pub use handle::{Handle, Heard};
