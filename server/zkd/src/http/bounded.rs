//! A listener with a bound on what is open at once: when one connection more comes, the oldest is closed.
//!
//! Whoever holds connections open and says nothing cannot keep a probe or a person out, as he could if those who come
//! late had to wait; and silence needs no deadline of its own. Never closes a connection below the bound.

use std::collections::VecDeque;
use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

pub struct Bounded {
    socket: TcpListener,
    connections_max: usize,
    /// Oldest first; cancelled when the connection ended by itself.
    open: VecDeque<CancellationToken>,
}

impl Bounded {
    pub fn new(socket: TcpListener, connections_max: usize) -> Self {
        Self { socket, connections_max, open: VecDeque::new() }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // Logs and retries what the system refuses.
        let (stream, peer) = Listener::accept(&mut self.socket).await;
        self.open.retain(|connection| !connection.is_cancelled());
        if self.open.len() >= self.connections_max
            && let Some(oldest) = self.open.pop_front()
        {
            oldest.cancel();
        }
        let closed = CancellationToken::new();
        self.open.push_back(closed.clone());
        (Connection::new(stream, closed), peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// A stream that fails as soon as it is to be closed.
pub struct Connection {
    stream: TcpStream,
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
    _ends: DropGuard,
}

impl Connection {
    fn new(stream: TcpStream, closed: CancellationToken) -> Self {
        Self { stream, closed: Box::pin(closed.clone().cancelled_owned()), _ends: closed.drop_guard() }
    }

    /// The stream, unless it is to be closed; whoever waits for it hears of both.
    fn stream(&mut self, cx: &mut Context<'_>) -> io::Result<Pin<&mut TcpStream>> {
        match self.closed.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(Pin::new(&mut self.stream)),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream(cx)?.poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.stream(cx)?.poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream(cx)?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn ask(stream: &mut TcpStream) -> String {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("it is open");
        let mut answer = vec![0; 4_096];
        let len = stream.read(&mut answer).await.expect("it is open");
        String::from_utf8_lossy(&answer[..len]).into_owned()
    }

    #[tokio::test]
    async fn one_too_many_closes_the_oldest_and_no_other() {
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = socket.local_addr().expect("bound");
        let router = Router::new().route("/", get(|| async { "here" }));
        let server = tokio::spawn(async move { axum::serve(Bounded::new(socket, 2), router).await });

        let mut silent = TcpStream::connect(address).await.expect("accepted");
        let mut second = TcpStream::connect(address).await.expect("accepted");
        assert!(ask(&mut second).await.ends_with("here"));
        let mut third = TcpStream::connect(address).await.expect("accepted");
        assert!(ask(&mut third).await.ends_with("here"));
        // Its other side is closed: the end of the stream, or a reset if that comes first.
        assert_eq!(silent.read(&mut [0; 8]).await.unwrap_or(0), 0);
        assert!(ask(&mut second).await.ends_with("here"));
        server.abort();
    }
}
