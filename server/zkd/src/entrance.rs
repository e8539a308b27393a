//! Between accepting a connection and speaking with its client: is it encrypted, and whose certificate is shown?
//!
//! One deadline holds for the handshake of TLS and the first message together, so that a client which is slow at both
//! takes no more of the server than one that says nothing at all.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::server::TlsStream;

use crate::clients::Clients;
use crate::handshake::SESSIONLESS_TIMEOUT;
use crate::{socket, tls};

/// What is spoken on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entrance {
    Plain,
    Tls,
    /// Either, as the client begins.
    Unified,
}

/// A client that is about to say something.
pub struct Guest {
    pub peer: SocketAddr,
    /// Whether TLS is spoken.
    pub encrypted: bool,
    /// Of its certificate.
    pub subject: Option<String>,
    /// By when its first message has to be there.
    pub until: Instant,
}

/// What a client is spoken to through.
pub trait Transport: AsyncRead + AsyncWrite + Unpin + Send {
    /// To read and to write at the same time.
    fn halves(&mut self) -> (impl AsyncRead + Unpin + Send, impl AsyncWrite + Unpin + Send);
}

impl Transport for TcpStream {
    fn halves(&mut self) -> (impl AsyncRead + Unpin + Send, impl AsyncWrite + Unpin + Send) {
        self.split()
    }
}

impl Transport for TlsStream<TcpStream> {
    fn halves(&mut self) -> (impl AsyncRead + Unpin + Send, impl AsyncWrite + Unpin + Send) {
        tokio::io::split(self)
    }
}

/// Serves an accepted connection until it is over.
pub async fn serve(clients: &Clients, stream: TcpStream, peer: SocketAddr, entrance: Entrance) {
    let until = Instant::now() + SESSIONLESS_TIMEOUT;
    let begun = tokio::select! {
        begun = timeout_at(until, begin(clients, stream, entrance)) => begun,
        () = clients.stop.cancelled() => return,
    };
    match begun {
        Ok(Ok(Begun::Plain(stream))) => {
            socket::serve(clients, stream, Guest { peer, encrypted: false, subject: None, until }).await;
        }
        Ok(Ok(Begun::Tls(stream))) => {
            let subject = tls::client_subject(&stream);
            socket::serve(clients, *stream, Guest { peer, encrypted: true, subject, until }).await;
        }
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "closing a connection: no handshake of TLS");
            clients.stats.connections_rejected.add(1);
        }
        Err(_) => {
            tracing::debug!(%peer, "closing a connection: no handshake of TLS in time");
            clients.stats.connections_rejected.add(1);
        }
    }
}

enum Begun {
    Plain(TcpStream),
    // Much larger than a socket alone.
    Tls(Box<TlsStream<TcpStream>>),
}

async fn begin(clients: &Clients, stream: TcpStream, entrance: Entrance) -> std::io::Result<Begun> {
    let is_encrypted = match entrance {
        Entrance::Plain => false,
        Entrance::Tls => true,
        Entrance::Unified => tls::speaks_tls(&stream).await?,
    };
    match clients.access.tls.as_ref().filter(|_| is_encrypted) {
        Some(tls) => tls.accept(stream).await.map(Box::new).map(Begun::Tls),
        None if entrance == Entrance::Tls => Err(std::io::ErrorKind::Unsupported.into()),
        None => Ok(Begun::Plain(stream)),
    }
}
