//! Why a connection does not go on.

use std::io;
use std::net::SocketAddr;

use zke_wire::{DecodeError, FrameError};

/// All but [`ClientError::Full`] end the connection. The session may live on: see
/// [`same_session`](crate::same_session).
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("cannot connect to {server}: is a server listening there?")]
    Connect { server: SocketAddr, source: io::Error },
    #[error("cannot take up the session: it expired or its password is wrong, so begin a new one")]
    SessionExpired,
    #[error("cannot go on: the server closed the connection, open another one")]
    Closed,
    #[error("cannot talk to the server: open another connection")]
    Io(#[from] io::Error),
    #[error("cannot cut a message out of what the server sent")]
    Frame(#[from] FrameError),
    #[error("cannot read a message of the server")]
    Decode(#[from] DecodeError),
    #[error(
        "cannot match a reply: it is to request {got}, and next in line is {}",
        .expected.map_or("none".to_owned(), |xid| xid.to_string())
    )]
    OutOfOrder { expected: Option<i32>, got: i32 },
    #[error("cannot send: {max} requests wait for their replies, take some first")]
    Full { max: usize },
}
