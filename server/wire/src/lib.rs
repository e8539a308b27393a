//! The Apache ZooKeeper client protocol, without input or output: jute codec, records, frames, paths.
//!
//! Promises: no bytes from a peer cause a panic, and decoding allocates no more than a small constant times the
//! bytes that are there, whatever lengths and counts they claim. What is encoded here is decoded here again unchanged.
//!
//! Never: a socket, a clock, or a decision about what a request does.
//!
//! A connection's life in terms of this crate: [`FrameDecoder::first`] yields the [`ConnectRequest`] (or a four-letter
//! word); after its [`ConnectResponse`], each [`FrameDecoder::next`] yields a frame that starts with a [`RequestHeader`],
//! whose rest [`Request::decode`] understands; [`Response::encode`] and [`encode_event`] write what goes back.
#![warn(clippy::indexing_slicing)]

mod acl;
mod address;
mod connect;
mod create_mode;
mod error_code;
mod event;
pub mod frame;
mod header;
mod ids;
pub mod jute;
mod multi;
mod opcode;
pub mod path;
mod request;
mod response;
mod server;
mod stat;

pub use acl::{Acl, Id, perms};
pub use address::{Address, Host, Listen, parse_port};
pub use connect::{ConnectRequest, ConnectResponse, PASSWORD_LEN};
pub use create_mode::CreateMode;
pub use error_code::ErrorCode;
pub use event::{EventKind, WatcherEvent, encode_event};
pub use frame::{FirstBytes, FrameDecoder, FrameError};
pub use header::{ReplyHeader, RequestHeader, xid};
pub use ids::{SessionId, Zxid};
pub use jute::{DecodeError, Reader, Record, Writer};
pub use multi::MultiResult;
pub use opcode::OpCode;
pub use request::Request;
pub use response::{ClientInfo, Response};
pub use server::{BadServer, Role, Server, ServerId};
pub use stat::Stat;
