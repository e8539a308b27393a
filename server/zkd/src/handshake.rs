//! The beginning of a connection: a four-letter word, or a session.
//!
//! The order of decisions is ZooKeeper's: a client that has seen a later zxid than this member is turned away (after a
//! short wait, so that a failover does not send clients round), then any other connection of the session here is cut,
//! and only then is the password checked, by the log. Turning away means closing without a word, which makes clients
//! try the next server; an answer of zeros means that the session is gone, and only the log may say that.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rand::RngCore as _;
use subtle::ConstantTimeEq as _;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::{Instant, timeout, timeout_at};
use zke_tree::Command;
use zke_wire::{ConnectRequest, FirstBytes, FrameDecoder, SessionId};

use crate::clients::Clients;
use crate::connection::{Connection, Ending};

/// How long a connection may take to get a session, as in ZooKeeper (nio.sessionlessCnxnTimeout).
pub const SESSIONLESS_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client waits here for the state it has already seen elsewhere. A member that lags longer than this is
/// not worth waiting for; clients give each server at least as long to answer.
const CATCH_UP: Duration = Duration::from_secs(1);
/// Bytes to ask the socket for: a connect request, and what eager clients send right behind it.
const FIRST_READ: usize = 512;

/// Reads until the first message is whole. `None` if the peer hangs up, is not done by then, or sends what no client
/// sends.
pub async fn first_bytes(
    from: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    frames: FrameDecoder,
    until: Instant,
) -> Option<FirstBytes> {
    timeout_at(until, async {
        loop {
            if let Some(first) = frames.first(buffer).ok()? {
                return Some(first);
            }
            buffer.reserve(FIRST_READ);
            if from.read_buf(buffer).await.ok()? == 0 {
                return None;
            }
        }
    })
    .await
    .ok()?
}

/// Gets `connection` the session it asks for; false if it gets none. Its answer, if any, is queued then.
pub async fn attach(clients: &Clients, connection: &Arc<Connection>, request: ConnectRequest) -> bool {
    clients.stats.connection_requests.add(1);
    if request.session_id != SessionId::NONE {
        clients.stats.revalidations.add(1);
    }
    match timeout(SESSIONLESS_TIMEOUT, begin(clients, connection, request)).await {
        Ok(attached) => attached,
        Err(_) => {
            connection.end(Ending::Cut);
            false
        }
    }
}

async fn begin(clients: &Clients, connection: &Arc<Connection>, request: ConnectRequest) -> bool {
    if !caught_up(clients, &request).await {
        tracing::info!(
            peer = %connection.peer(), seen = %request.last_zxid_seen,
            "turning a client away: it has seen a later state than this member"
        );
        connection.end(Ending::Cut);
        return false;
    }
    if connection.is_read_only() {
        return begin_read_only(clients, connection, &request);
    }
    clients.hub.cut_session(request.session_id);
    let command = command(clients, &request);
    while connection
        .attach(request.clone(), command.clone(), &clients.hub.pending, &clients.ensemble)
        .is_err()
    {
        clients.ensemble.room().await;
    }
    connection.attached().await
}

/// Without a quorum nothing can be asked of the log. A new session lives here alone and ends with its connection; one of
/// the ensemble goes on reading if it is known here with its password. Of any other this member cannot say that it is
/// gone: its client shall ask elsewhere.
fn begin_read_only(clients: &Clients, connection: &Connection, request: &ConnectRequest) -> bool {
    let known = clients.ensemble.state().read().session(request.session_id).map(|session| session.password);
    let session = match (request.session_id, known) {
        (SessionId::NONE, _) => {
            let mut random = rand::rng();
            let mut password = [0; 16];
            random.fill_bytes(&mut password);
            Some((session_id(random.next_u64()), password))
        }
        (id, Some(password)) => {
            let is_right: bool = request.password.ct_eq(password.as_slice()).into();
            is_right.then_some((id, password))
        }
        (_, None) => None,
    };
    let Some((session, password)) = session else {
        connection.end(Ending::Cut);
        return false;
    };
    let bounds = clients.config.session_timeout;
    connection.attach_read_only(
        request,
        session,
        password,
        request.timeout_ms.clamp(bounds.min_ms, bounds.max_ms),
    );
    true
}

async fn caught_up(clients: &Clients, request: &ConnectRequest) -> bool {
    let mut last_zxid = clients.hub.last_zxid();
    let seen = timeout(CATCH_UP, last_zxid.wait_for(|zxid| *zxid >= request.last_zxid_seen)).await;
    matches!(seen, Ok(Ok(_)))
}

fn command(clients: &Clients, request: &ConnectRequest) -> Command {
    let bounds = clients.config.session_timeout;
    let timeout_ms = request.timeout_ms.clamp(bounds.min_ms, bounds.max_ms);
    if request.session_id == SessionId::NONE {
        let mut random = rand::rng();
        let mut password = [0; 16];
        random.fill_bytes(&mut password);
        return Command::CreateSession { session: session_id(random.next_u64()), password, timeout_ms };
    }
    // A password of another length is no password of ours; zeros are none either, as ours are random.
    let password = request.password.as_ref().try_into().unwrap_or_default();
    Command::AttachSession { session: request.session_id, password, timeout_ms }
}

/// Random, so that members need not agree to mint one. Positive and odd: 0 asks for a new session, and the highest
/// bytes 0x80 and 0xff mark containers and nodes with a time to live where a node names its owner.
fn session_id(random: u64) -> SessionId {
    SessionId((random >> 1) as i64 | 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_ids_stay_clear_of_values_with_a_meaning() {
        for random in [0, 1, u64::MAX, 1 << 63, 0xff << 56] {
            let SessionId(id) = session_id(random);
            assert!(id > 0, "{id:#x}");
        }
    }
}
