//! What clients see, byte by byte, over real sockets, of a server that is alone.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod commands;
mod encryption;
mod ensemble;
mod garbage;
mod http;
mod limits;
mod multi;
mod nodes;
mod opcodes;
mod order;
mod permissions;
mod protocol;
mod quotas;
mod raw;
mod sasl;
mod server;
mod sessions;
mod transient;
mod watches;
