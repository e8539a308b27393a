//! The log against a model, on a disk that crashes, lies and rots.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]

mod crash;
mod damage;
mod drivers;
mod model;
