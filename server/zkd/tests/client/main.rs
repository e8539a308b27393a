//! What clients see, byte by byte, over real sockets, of a server that is alone.

mod ensemble;
mod http;
mod nodes;
mod order;
mod protocol;
mod raw;
mod server;
mod sessions;
mod watches;
