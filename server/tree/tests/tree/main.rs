//! Tests of the state machine through its public API alone.

mod determinism;
mod ensemble;
mod model;
mod quota;
mod random;
mod script;
mod snapshot;
