//! One connection: requests out, replies and events in.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWrite as _;
use tokio::net::TcpStream;
use tokio_util::io::poll_read_buf;
use zke_wire::{
    ConnectRequest, ConnectResponse, ErrorCode, FrameDecoder, OpCode, PASSWORD_LEN, ReplyHeader, Request,
    Response, SessionId, WatcherEvent, Zxid, xid,
};

use crate::error::ClientError;

/// A reply may hold the names of many children, so more than a server takes as a request; what claims to be longer is
/// not this protocol.
const MESSAGE_MAX_BYTES: usize = 64 << 20;
/// Room for each read: a hundred replies of usual size, and still little for each of some hundred connections.
const READ_BYTES: usize = 16 << 10;
/// A header's length, which an event's body follows.
const REPLY_HEADER_BYTES: usize = 16;

/// A client's end of one session's connection.
pub struct Connection {
    stream: TcpStream,
    frames: FrameDecoder,
    granted: ConnectResponse,
    /// Encoded and not yet written: no more than the requests in `unanswered`.
    outgoing: BytesMut,
    /// Read and not yet taken: at most one message that is not whole, and what one read brings.
    incoming: BytesMut,
    /// In the order in which they were sent, never more than `max_unanswered`.
    unanswered: VecDeque<Unanswered>,
    max_unanswered: usize,
    last_xid: i32,
}

#[derive(Debug, Clone, Copy)]
struct Unanswered {
    xid: i32,
    op: OpCode,
}

/// What a server sends.
#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    Reply(Reply),
    /// A watch saw a change.
    Event {
        zxid: Zxid,
        event: WatcherEvent,
    },
}

/// The answer to one request.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    /// As [`Connection::send`] returned it.
    pub xid: i32,
    pub zxid: Zxid,
    pub result: Result<Response, ErrorCode>,
}

/// Asks for a new session; the server may grant another timeout.
pub fn new_session(timeout_ms: i32) -> ConnectRequest {
    ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid(0),
        timeout_ms,
        session_id: SessionId::NONE,
        password: Bytes::from_static(&[0; PASSWORD_LEN]),
        read_only: Some(false),
    }
}

/// Asks for a session back, on the same server or another one that has seen as much as `last_zxid_seen`.
pub fn same_session(granted: &ConnectResponse, last_zxid_seen: Zxid) -> ConnectRequest {
    ConnectRequest {
        last_zxid_seen,
        session_id: granted.session_id,
        password: Bytes::copy_from_slice(&granted.password),
        ..new_session(granted.timeout_ms)
    }
}

impl Connection {
    /// Connects and waits until the server grants the session. At most `max_unanswered` requests may wait for their
    /// replies at any time. Waits for as long as the server does: the caller bounds it.
    ///
    /// # Errors
    /// [`ClientError::Connect`], [`ClientError::SessionExpired`], or what a connection may fail with at any time.
    pub async fn open(
        server: SocketAddr,
        request: &ConnectRequest,
        max_unanswered: usize,
    ) -> Result<Connection, ClientError> {
        let connect = |source| ClientError::Connect { server, source };
        let stream = TcpStream::connect(server).await.map_err(connect)?;
        stream.set_nodelay(true).map_err(connect)?;
        let mut connection = Connection {
            stream,
            frames: FrameDecoder::new(MESSAGE_MAX_BYTES),
            granted: ConnectResponse::expired(request),
            outgoing: BytesMut::new(),
            incoming: BytesMut::new(),
            unanswered: VecDeque::with_capacity(max_unanswered.min(1_024)),
            max_unanswered,
            last_xid: 0,
        };
        request.encode(&mut connection.outgoing);
        let frame = loop {
            match connection.frames.next(&mut connection.incoming)? {
                Some(frame) => break frame,
                None => connection.exchange().await?,
            }
        };
        connection.granted = ConnectResponse::decode(frame)?;
        if connection.granted.session_id == SessionId::NONE {
            return Err(ClientError::SessionExpired);
        }
        Ok(connection)
    }

    /// The session that this connection speaks for.
    pub fn granted(&self) -> &ConnectResponse {
        &self.granted
    }

    /// Requests whose replies were not taken yet.
    pub fn unanswered(&self) -> usize {
        self.unanswered.len()
    }

    pub fn has_room(&self) -> bool {
        self.unanswered.len() < self.max_unanswered
    }

    /// Queues a request and returns its xid. It leaves with the next [`next`](Self::next) or [`flush`](Self::flush).
    ///
    /// # Errors
    /// [`ClientError::Full`] if as many as allowed wait for their replies; nothing is queued then.
    pub fn send(&mut self, request: &Request) -> Result<i32, ClientError> {
        if !self.has_room() {
            return Err(ClientError::Full { max: self.max_unanswered });
        }
        let xid = match request {
            Request::Ping => xid::PING,
            Request::Auth { .. } => xid::AUTH,
            Request::SetWatches { .. } | Request::SetWatches2 { .. } => xid::SET_WATCHES,
            _ => {
                // The numbers below 1 have meanings of their own.
                self.last_xid = self.last_xid.checked_add(1).unwrap_or(1);
                self.last_xid
            }
        };
        request.encode(xid, &mut self.outgoing);
        self.unanswered.push_back(Unanswered { xid, op: request.op() });
        Ok(xid)
    }

    /// Writes what is queued. [`next`](Self::next) does so too: this is for requests whose replies can wait.
    ///
    /// # Errors
    /// [`ClientError::Io`].
    pub async fn flush(&mut self) -> Result<(), ClientError> {
        poll_fn(|context| self.poll_write(context)).await
    }

    /// Writes what is queued and waits for the next message. Cancelling it loses nothing.
    ///
    /// # Errors
    /// Any but [`ClientError::Full`]; the connection is over then.
    pub async fn next(&mut self) -> Result<Message, ClientError> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(message);
            }
            self.exchange().await?;
        }
    }

    /// The next message of those that were read already, so that many can be handled before anything is written.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn take(&mut self) -> Result<Option<Message>, ClientError> {
        let Some(frame) = self.frames.next(&mut self.incoming)? else { return Ok(None) };
        let xid = frame.first_chunk().map(|bytes| i32::from_be_bytes(*bytes));
        if xid == Some(xid::NOTIFICATION) && frame.len() >= REPLY_HEADER_BYTES {
            return event(frame).map(Some);
        }
        // A frame without a xid is told by the decoder below.
        let op = self.answered(xid.unwrap_or_default())?;
        let (ReplyHeader { xid, zxid, err }, response) = Response::decode(op, frame)?;
        Ok(Some(Message::Reply(Reply { xid, zxid, result: err.map_or(Ok(response), Err) })))
    }

    /// Ends the session and waits until the server says so. Replies and events before that are dropped.
    ///
    /// # Errors
    /// As [`next`](Self::next), and [`ClientError::Full`].
    pub async fn close(mut self) -> Result<(), ClientError> {
        let closing = self.send(&Request::Close)?;
        loop {
            if let Message::Reply(reply) = self.next().await?
                && reply.xid == closing
            {
                return Ok(());
            }
        }
    }

    /// The request that a reply with this xid is to.
    fn answered(&mut self, xid: i32) -> Result<OpCode, ClientError> {
        let place = match xid {
            // A server answers auth on arrival, ahead of what waits.
            xid::AUTH => self.unanswered.iter().position(|request| request.xid == xid),
            _ => self.unanswered.front().filter(|request| request.xid == xid).map(|_| 0),
        };
        match place.and_then(|place| self.unanswered.remove(place)) {
            Some(request) => Ok(request.op),
            None => Err(ClientError::OutOfOrder {
                expected: self.unanswered.front().map(|request| request.xid),
                got: xid,
            }),
        }
    }

    /// Writes what it can, and returns once something was read: so neither end waits for the other to take its bytes.
    async fn exchange(&mut self) -> Result<(), ClientError> {
        let read = poll_fn(|context| {
            if let Poll::Ready(written) = self.poll_write(context) {
                written?;
            }
            self.incoming.reserve(READ_BYTES);
            let read = ready!(poll_read_buf(Pin::new(&mut self.stream), context, &mut self.incoming));
            Poll::Ready(read.map_err(ClientError::Io))
        });
        match read.await? {
            0 => Err(ClientError::Closed),
            _ => Ok(()),
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        while !self.outgoing.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.outgoing))?;
            self.outgoing.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

fn event(mut frame: Bytes) -> Result<Message, ClientError> {
    let header = frame.split_to(REPLY_HEADER_BYTES);
    let mut zxid = [0; 8];
    zxid.copy_from_slice(&header[4..12]);
    let event = WatcherEvent::decode(frame)?;
    Ok(Message::Event { zxid: Zxid(i64::from_be_bytes(zxid)), event })
}
