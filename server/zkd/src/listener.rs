//! Accepts clients.
//!
//! The caller owns the socket, so a test binds any free port; [`Clients::stop`] ends it. A connection that exceeds a
//! limit is accepted and closed, as in ZooKeeper: its client then tries another server.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::clients::Clients;
use crate::config::Listen;
use crate::entrance::{self, Entrance};
use crate::workers::Workers;

/// Connections that the kernel holds while we are busy: all clients of a member that died come at once.
const BACKLOG: i32 = 4_096;
/// Accepting fails when the process or the system has no more files or memory. Nothing helps but to wait; a client
/// waits longer than this before it gives up.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// What the system says to `::` where IPv6 is switched off.
const NO_SUCH_FAMILY: i32 = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
const NO_SUCH_ADDRESS: i32 = rustix::io::Errno::ADDRNOTAVAIL.raw_os_error();
/// How long requests that were read before the stop may take to be answered.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Binds what the configuration names; without a host every address of the machine, both families if it has both.
///
/// # Errors
/// Those of the system: the name has no address here, or the port is in use.
pub async fn bind(listen: &Listen) -> io::Result<TcpListener> {
    let Some(host) = &listen.host else {
        let any = |ip: IpAddr| bind_address(SocketAddr::new(ip, listen.port));
        return any(Ipv6Addr::UNSPECIFIED.into()).or_else(|error| match error.raw_os_error() {
            Some(NO_SUCH_FAMILY | NO_SUCH_ADDRESS) => any(Ipv4Addr::UNSPECIFIED.into()),
            _ => Err(error),
        });
    };
    let mut found = lookup_host((host.as_str(), listen.port)).await?;
    bind_address(found.next().ok_or(io::ErrorKind::AddrNotAvailable)?)
}

/// Binds a socket for clients to exactly this address.
///
/// # Errors
/// Those of the system.
pub fn bind_address(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted server takes its port back although connections of the one before still linger.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Serves clients on `socket` until [`Clients::stop`] is cancelled; then accepts nothing more, lets connections
/// answer what they have read, and returns when they are gone, after [`DRAIN_TIMEOUT`] at the latest.
pub async fn run(socket: TcpListener, entrance: Entrance, clients: Arc<Clients>, workers: Arc<Workers>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = clients.stop.cancelled() => break,
            Some(ended) = connections.join_next() => report(ended),
            accepted = socket.accept() => match accepted {
                Ok((stream, peer)) => admit(&mut connections, &clients, &workers, entrance, stream, peer),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a client");
                    sleep(ACCEPT_RETRY).await;
                }
            },
        }
    }
    drop(socket);
    clients.hub.drain();
    let drained = timeout(DRAIN_TIMEOUT, async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    });
    if drained.await.is_err() {
        tracing::warn!(connections = connections.len(), "closing connections with unanswered requests");
        connections.shutdown().await;
    }
}

fn admit(
    connections: &mut JoinSet<()>,
    clients: &Arc<Clients>,
    workers: &Workers,
    entrance: Entrance,
    stream: TcpStream,
    peer: SocketAddr,
) {
    // An IPv4 client of a socket for both families is shown, counted and identified as such.
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let Some(seat) = clients.seat(peer.ip()) else {
        clients.stats.connections_rejected.add(1);
        tracing::debug!(%peer, "turning a client away: too many connections");
        return;
    };
    // Replies are small and clients wait for them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
    }
    // A socket is woken by the runtime that it belongs to, which is that of the listener so far.
    let stream = match stream.into_std() {
        Ok(stream) => stream,
        Err(error) => return tracing::debug!(%peer, %error, "cannot hand a client to its thread"),
    };
    let clients = Arc::clone(clients);
    let (worker, place) = workers.place();
    let served = async move {
        match TcpStream::from_std(stream) {
            Ok(stream) => entrance::serve(&clients, stream, peer, entrance).await,
            Err(error) => tracing::warn!(%peer, %error, "cannot wait for what a client says"),
        }
        drop((seat, place));
    };
    connections.spawn_on(served, worker);
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "serving a connection failed");
    }
}
