//! A member's side of one client's connection: what the daemon's socket, handshake and listener do, over streams in memory.
//!
//! Everything that decides about order, watches or barriers is the daemon's own code, called in the daemon's order. What
//! is played here, and so not tried: sockets, TLS, `socket.rs`, `handshake.rs`, authentication, limits, read-only mode.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use openraft_rt_sim::SimRuntime;
use tokio::sync::mpsc;
use zkd::connection::{Arrival, Blocked, Connection, Ending, Outbox};
use zkd::entrance::Guest;
use zkd::requests::{self, Action};
use zke_consensus::AsyncRuntime;
use zke_consensus::peer::FrameStream;
use zke_tree::Command;
use zke_wire::{ConnectRequest, FirstBytes, FrameDecoder, SessionId};

use crate::world::Process;

/// As in the daemon.
const CATCH_UP: Duration = Duration::from_secs(1);
const SESSIONLESS_TIMEOUT: Duration = Duration::from_secs(10);
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
const LOOK_INTERVAL: Duration = Duration::from_millis(1);
fn frames() -> FrameDecoder {
    FrameDecoder::new(FrameDecoder::DEFAULT_MAX_LEN)
}

/// What a new session is called; the daemon draws it at random.
#[derive(Debug, Clone, Copy)]
pub struct Fresh {
    pub session: SessionId,
    pub password: [u8; 16],
}

/// Serves a connection until it is over.
pub async fn serve(process: Process, stream: FrameStream, fresh: Fresh) {
    let FrameStream { outgoing, mut incoming } = stream;
    let mut buffer = BytesMut::new();
    let Some(chunk) = incoming.recv().await else { return };
    buffer.extend_from_slice(&chunk);
    let Ok(Some(FirstBytes::Frame(frame))) = frames().first(&mut buffer) else { return };
    let Ok(request) = ConnectRequest::decode(frame) else { return };
    let guest = Guest {
        peer: ([127, 0, 0, 1], 1).into(),
        encrypted: false,
        subject: None,
        until: tokio::time::Instant::now(),
    };
    let Some(connection) = process.hub.admit(&guest, false) else { return };
    tokio::select! {
        biased;
        () = connection.cut() => {}
        () = read(&process, &connection, request, fresh, incoming, buffer) => {}
        () = write(&connection, outgoing) => {}
    }
    process.hub.forget(&connection);
}

async fn read(
    process: &Process,
    connection: &Arc<Connection>,
    request: ConnectRequest,
    fresh: Fresh,
    incoming: mpsc::Receiver<Bytes>,
    buffer: BytesMut,
) {
    let attached =
        SimRuntime::timeout(SESSIONLESS_TIMEOUT, attach(process, connection, request, fresh)).await;
    if attached != Ok(true) {
        return finish(connection).await;
    }
    process.hub.touch(connection);
    if let Some(()) = take_requests(process, connection, incoming, buffer).await {
        finish(connection).await;
    }
}

/// No further request is taken; what is queued is still written.
async fn finish(connection: &Connection) {
    connection.wake_writer();
    SimRuntime::sleep(FLUSH_TIMEOUT).await;
}

async fn attach(
    process: &Process,
    connection: &Arc<Connection>,
    request: ConnectRequest,
    fresh: Fresh,
) -> bool {
    let last_zxid = process.hub.last_zxid();
    // Looked at, not waited for: tokio's watch wakes those who wait in an order that no seed decides.
    let seen = async {
        while *last_zxid.borrow() < request.last_zxid_seen {
            SimRuntime::sleep(LOOK_INTERVAL).await;
        }
    };
    if SimRuntime::timeout(CATCH_UP, seen).await.is_err() {
        connection.end(Ending::Cut);
        return false;
    }
    process.hub.cut_session(request.session_id);
    let timeout_ms = request.timeout_ms;
    let command = if request.session_id == SessionId::NONE {
        Command::CreateSession { session: fresh.session, password: fresh.password, timeout_ms }
    } else {
        let password = request.password.as_ref().try_into().unwrap_or_default();
        Command::AttachSession { session: request.session_id, password, timeout_ms }
    };
    while connection
        .attach(request.clone(), command.clone(), &process.hub.pending, &process.ensemble)
        .is_err()
    {
        process.ensemble.room().await;
    }
    connection.attached().await
}

/// `None` once the client is gone, to whom nothing is owed then.
async fn take_requests(
    process: &Process,
    connection: &Arc<Connection>,
    mut incoming: mpsc::Receiver<Bytes>,
    mut buffer: BytesMut,
) -> Option<()> {
    loop {
        let mut taken = 0;
        while let Some(frame) = frames().next(&mut buffer).ok()? {
            taken += 1;
            match request(process, connection, frame).await {
                Next::GoOn => {}
                Next::Finish => return Some(()),
                Next::HangUp => return None,
            }
        }
        if taken > 0 {
            process.hub.touch(connection);
            connection.wake_writer();
        }
        buffer.extend_from_slice(&incoming.recv().await?);
    }
}

enum Next {
    GoOn,
    Finish,
    HangUp,
}

async fn request(process: &Process, connection: &Arc<Connection>, frame: Bytes) -> Next {
    let Process { ensemble, hub, barriers, .. } = process;
    let received = std::time::Instant::now();
    if !connection.has_room(None).await {
        return Next::Finish;
    }
    loop {
        let Ok((xid, action)) = requests::decode(frame.clone()) else { return Next::HangUp };
        let arrival = Arrival { xid, received, bytes: frame.len() };
        let op = match action {
            Action::Read(read) => {
                let state = ensemble.state().read();
                if !ensemble.lease_holds() {
                    return Next::HangUp;
                }
                connection.read(arrival, read, &state, &hub.watches);
                return Next::GoOn;
            }
            Action::Sync { path } => {
                let Some(barrier) = connection.sync(arrival, path) else { return Next::Finish };
                barriers.ask(connection, barrier);
                return Next::GoOn;
            }
            Action::Write(op) => Some(op),
            Action::Close => None,
            Action::Auth { .. } | Action::Sasl { .. } | Action::Foreign => return Next::HangUp,
        };
        if !connection.takes_writes().await {
            return Next::Finish;
        }
        let last = op.is_none();
        match connection.propose(arrival, op, &hub.pending, ensemble) {
            Ok(()) if last => return Next::Finish,
            Ok(()) => return Next::GoOn,
            Err(Blocked::Over) => return Next::Finish,
            Err(Blocked::Busy) => {
                connection.wake_writer();
                ensemble.room().await;
            }
        }
    }
}

async fn write(connection: &Connection, outgoing: mpsc::Sender<Bytes>) {
    let mut out = BytesMut::new();
    loop {
        match connection.take_outbox(&mut out) {
            Outbox::Wait => connection.output().await,
            Outbox::End => return,
            Outbox::Write => {
                if outgoing.send(out.split().freeze()).await.is_err() {
                    return;
                }
            }
        }
    }
}
