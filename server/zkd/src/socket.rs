//! Drives one accepted socket from its first byte to its last: a reader that turns frames into requests, a writer
//! that takes what is queued with as few writes as possible, both in one task, so that a pipelined batch of reads is
//! answered by a single write without another thread.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};
use zke_tree::WriteOp;
use zke_wire::{ConnectRequest, ErrorCode, FirstBytes};

use crate::clients::Clients;
use crate::connection::{Arrival, Blocked, Connection, Ending, Outbox};
use crate::entrance::{Guest, Transport};
use crate::requests::{self, Action, Read};
use crate::{four_letter, handshake};

/// How long the last bytes of a connection may take to leave, and how long the peer may then take to hang up too.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// Read buffers of a connection that sends little, and the most that one grows to for one that sends much.
const READ_MIN_BYTES: usize = 2 << 10;
const READ_MAX_BYTES: usize = 64 << 10;
/// A larger write buffer is given back once it is written, so that an idle connection is small.
const WRITE_KEEP_BYTES: usize = 16 << 10;

/// Why the reader stopped.
enum Stop {
    /// The peer is gone or sends what is no request: nothing is owed to it.
    HungUp,
    /// No further request is taken; what is queued is still written.
    NoMore,
}

/// Serves a connection until it is over.
pub async fn serve(clients: &Clients, mut stream: impl Transport, guest: Guest) {
    let mut buffer = BytesMut::new();
    let first = tokio::select! {
        first = handshake::first_bytes(&mut stream, &mut buffer, clients.frames, guest.until) => first,
        () = clients.stop.cancelled() => None,
    };
    match first {
        Some(FirstBytes::FourLetter(word)) => {
            let argument = argument(&mut stream, buffer, word).await;
            if let Some(text) = four_letter::answer(word, &argument, clients).await {
                // A peer that does not wait for its answer needs no other.
                let _ = timeout(FLUSH_TIMEOUT, async {
                    stream.write_all(text.as_bytes()).await?;
                    stream.flush().await
                })
                .await;
            }
            hang_up(&mut stream).await;
        }
        Some(FirstBytes::Frame(frame)) => {
            if let Ok(request) = ConnectRequest::decode(frame) {
                converse(clients, &mut stream, buffer, request, guest).await;
            }
        }
        None => {}
    }
}

/// What stands behind a word that needs it, as far as it comes in time.
async fn argument(stream: &mut impl Transport, mut buffer: BytesMut, word: [u8; 4]) -> BytesMut {
    if four_letter::takes_argument(word) {
        let _ = timeout(FLUSH_TIMEOUT, async {
            while buffer.len() < four_letter::TRACE_MASK_LEN && stream.read_buf(&mut buffer).await? > 0 {}
            std::io::Result::Ok(())
        })
        .await;
    }
    buffer
}

async fn converse(
    clients: &Clients,
    stream: &mut impl Transport,
    buffer: BytesMut,
    request: ConnectRequest,
    guest: Guest,
) {
    let Some(connection) = clients.hub.admit(&guest, request.read_only == Some(true)) else {
        clients.stats.connections_rejected.add(1);
        return;
    };
    if let Some(subject) = guest.subject
        && let Err(error) = connection.add_certificate(subject, &clients.access.known())
    {
        tracing::info!(peer = %guest.peer, %error, "refusing a client's certificate");
        clients.stats.auth_failures.add(1);
        clients.hub.forget(&connection);
        return;
    }
    let (from, to) = stream.halves();
    let flushed = tokio::select! {
        biased;
        () = connection.cut() => {
            clients.stats.connections_dropped.add(1);
            false
        }
        () = read(clients, &connection, from, buffer, request) => false,
        flushed = write(clients, &connection, to) => flushed,
    };
    clients.hub.forget(&connection);
    if flushed {
        hang_up(stream).await;
    }
}

/// Returns when the connection is over for the reader: at once if the peer is gone, else when the writer has had its
/// time.
async fn read(
    clients: &Clients,
    connection: &Arc<Connection>,
    from: impl AsyncRead + Unpin,
    buffer: BytesMut,
    request: ConnectRequest,
) {
    count_received(clients, connection, 1);
    let stop = if handshake::attach(clients, connection, request).await {
        clients.hub.touch(connection);
        requests(clients, connection, from, buffer).await
    } else {
        Stop::NoMore
    };
    if let Stop::NoMore = stop {
        connection.wake_writer();
        sleep(FLUSH_TIMEOUT).await;
    }
}

async fn requests(
    clients: &Clients,
    connection: &Arc<Connection>,
    mut from: impl AsyncRead + Unpin,
    mut buffer: BytesMut,
) -> Stop {
    let mut stopped = pin!(connection.reading_stopped());
    let mut want = READ_MIN_BYTES;
    loop {
        let received = Instant::now();
        let mut frames = 0;
        let mut longest = 0;
        loop {
            match clients.frames.next(&mut buffer) {
                Ok(Some(frame)) => {
                    frames += 1;
                    longest = longest.max(frame.len());
                    if let Some(stop) = request(clients, connection, frame, received).await {
                        return stop;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::info!(peer = %connection.peer(), %error, "closing a connection");
                    return Stop::HungUp;
                }
            }
        }
        if frames > 0 {
            count_received(clients, connection, frames);
            clients.hub.touch(connection);
            connection.wake_writer();
        }
        if longest > READ_MAX_BYTES && buffer.is_empty() {
            // Otherwise one large request would keep its memory for as long as the connection lives.
            buffer = BytesMut::new();
        }
        buffer.reserve(want);
        let room = buffer.capacity() - buffer.len();
        let read = tokio::select! {
            biased;
            read = from.read_buf(&mut buffer) => read,
            () = &mut stopped => {
                connection.end(Ending::Draining);
                return Stop::NoMore;
            }
        };
        match read {
            Ok(0) | Err(_) => return Stop::HungUp,
            Ok(len) => {
                clients.stats.bytes_received.add(len as u64);
                // A full buffer means that there is more: ask for more at a time.
                want = if len == room { (want * 2).min(READ_MAX_BYTES) } else { READ_MIN_BYTES };
            }
        }
    }
}

/// Does what one request asks for, up to the point where it only waits for its turn.
async fn request(
    clients: &Clients,
    connection: &Arc<Connection>,
    frame: Bytes,
    received: Instant,
) -> Option<Stop> {
    if !connection.has_room(clients.config.outstanding_max).await {
        return Some(Stop::NoMore);
    }
    loop {
        let Ok((xid, action)) = requests::decode(frame.clone()) else {
            return Some(Stop::HungUp);
        };
        let arrival = Arrival { xid, received, bytes: frame.len() };
        let required = &clients.access.security.required_schemes;
        let presents = matches!(action, Action::Auth { .. } | Action::Sasl { .. });
        if !required.is_empty() && !presents && !connection.has_proven_itself(xid, required) {
            tracing::info!(peer = %connection.peer(), ?required, "closing a connection: its client has not authenticated");
            clients.stats.auth_failures.add(1);
            return Some(Stop::NoMore);
        }
        let op = match read_only(connection, action) {
            Action::Read(Read::Close) => {
                let state = clients.ensemble.state().read();
                connection.close_read_only(arrival, &state, &clients.hub.watches);
                return Some(Stop::NoMore);
            }
            Action::Read(read) => {
                let state = clients.ensemble.state().read();
                if !connection.is_read_only() && !clients.ensemble.lease_holds() {
                    // The leader may have let the session go already. Whoever watches the lease will say so too.
                    return Some(Stop::HungUp);
                }
                connection.read(arrival, read, &state, &clients.hub.watches);
                return None;
            }
            Action::Sync { path } => {
                let Some(barrier) = connection.sync(arrival, path) else { return Some(Stop::NoMore) };
                clients.barriers.ask(connection, barrier);
                return None;
            }
            Action::Auth { scheme, auth } => return authenticate(clients, connection, xid, &scheme, &auth),
            Action::Sasl { token } => return sasl(clients, connection, xid, &token),
            Action::Foreign => {
                let refused = Read::Refused(ErrorCode::Unimplemented);
                let state = clients.ensemble.state().read();
                connection.read(arrival, refused, &state, &clients.hub.watches);
                drop(state);
                tracing::info!(peer = %connection.peer(), "closing a connection: no client asks for that");
                connection.end(Ending::Draining);
                return Some(Stop::NoMore);
            }
            Action::Write(op) => Some(op),
            Action::Close => None,
        };
        if !connection.takes_writes().await {
            return Some(Stop::NoMore);
        }
        let last = op.is_none();
        let changes_ensemble = matches!(op, Some(WriteOp::Reconfig(_)));
        match connection.propose(arrival, op, &clients.hub.pending, &clients.ensemble) {
            Ok(()) if changes_ensemble => {
                wait_for_ensemble(clients, connection).await;
                return None;
            }
            Ok(()) => return last.then_some(Stop::NoMore),
            Err(Blocked::Over) => return Some(Stop::NoMore),
            Err(Blocked::Busy) => {
                // Rare: to decode the request once more is cheaper than to copy each one beforehand.
                connection.wake_writer();
                clients.ensemble.room().await;
            }
        }
    }
}

/// Whoever has changed the ensemble hears of it once the members follow: then a server that left may be stopped. Not for
/// ever, since a server that joins may not be there yet, and nothing else is read from this client meanwhile.
async fn wait_for_ensemble(clients: &Clients, connection: &Connection) {
    /// As long as any change of the membership may take.
    const PATIENCE_MAX: Duration = Duration::from_secs(10);
    if let Some(session_timeout) = connection.changed_ensemble().await {
        // Clients hang up when they have heard nothing for two thirds of it.
        let patience = PATIENCE_MAX.min(session_timeout / 2);
        tokio::select! {
            () = clients.ensemble.settled(patience) => {}
            () = connection.reading_stopped() => {}
        }
        connection.release();
        connection.wake_writer();
    }
}

/// What a connection that may only read is answered in the place of all else.
fn read_only(connection: &Connection, action: Action) -> Action {
    match action {
        Action::Write(_) | Action::Sync { .. } if connection.is_read_only() => {
            Action::Read(Read::Refused(ErrorCode::NotReadOnly))
        }
        Action::Close if connection.is_read_only() => Action::Read(Read::Close),
        action => action,
    }
}

fn authenticate(
    clients: &Clients,
    connection: &Connection,
    xid: i32,
    scheme: &str,
    auth: &Bytes,
) -> Option<Stop> {
    let known = clients.access.known();
    let error = connection.authenticate(xid, scheme, auth, &known).err()?;
    tracing::info!(peer = %connection.peer(), %error, "refusing a client's credentials");
    clients.stats.auth_failures.add(1);
    Some(Stop::NoMore)
}

fn sasl(clients: &Clients, connection: &Connection, xid: i32, token: &[u8]) -> Option<Stop> {
    let security = &clients.access.security;
    let refusal = if security.required_schemes.iter().any(|scheme| scheme == "sasl") {
        ErrorCode::SessionClosedRequireSaslAuth
    } else {
        ErrorCode::AuthFailed
    };
    let known = clients.access.known();
    let error = connection.sasl(xid, token, security.sasl.as_ref(), &known, refusal).err()?;
    tracing::info!(peer = %connection.peer(), %error, "refusing a client's credentials");
    clients.stats.auth_failures.add(1);
    // If it may stay, it goes on.
    (!connection.is_open()).then_some(Stop::NoMore)
}

/// Writes what is queued until all is said (true), or the peer takes no more (false).
async fn write(clients: &Clients, connection: &Connection, mut to: impl AsyncWrite + Unpin) -> bool {
    let mut out = BytesMut::new();
    loop {
        match connection.take_outbox(&mut out) {
            Outbox::Wait => connection.output().await,
            Outbox::End => return true,
            Outbox::Write => {
                // TLS keeps what the socket did not take at once until it is flushed; TCP has nothing to flush.
                if to.write_all(&out).await.is_err() || to.flush().await.is_err() {
                    return false;
                }
                clients.stats.bytes_sent.add(out.len() as u64);
                if out.capacity() > WRITE_KEEP_BYTES {
                    out = BytesMut::new();
                } else {
                    out.clear();
                }
            }
        }
    }
}

fn count_received(clients: &Clients, connection: &Connection, frames: u64) {
    clients.stats.received.add(frames);
    connection.received.add(frames);
}

/// Says that nothing more comes, then takes what the peer still sends: closing over unread bytes would reset the
/// connection and could destroy the last answer on its way.
async fn hang_up(stream: &mut impl Transport) {
    let drained = async {
        stream.shutdown().await?;
        let mut scratch = [0; 512];
        while stream.read(&mut scratch).await? > 0 {}
        std::io::Result::Ok(())
    };
    // However this ends, the socket is dropped next.
    let _ = timeout(FLUSH_TIMEOUT, drained).await;
}
