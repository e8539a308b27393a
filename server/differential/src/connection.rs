//! One connection, without a client library: bytes go out, frames come in.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::{Bytes, BytesMut};
use zke_wire::FrameDecoder;

/// Beyond any pause of a server on a busy machine. What is not answered by then counts as never answered.
const PATIENCE: Duration = Duration::from_secs(15);
/// Larger than any reply to what programs ask.
const MAX_REPLY_BYTES: usize = 16 << 20;

pub struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
}

/// What a server does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    Frame(Bytes),
    HungUp,
    Silent,
}

impl Connection {
    pub fn dial(server: SocketAddr) -> Result<Connection> {
        let connect = || -> std::io::Result<TcpStream> {
            let stream = TcpStream::connect(server)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        let stream = connect().with_context(|| format!("connect to {server}"))?;
        Ok(Connection { stream, buffer: BytesMut::new() })
    }

    /// A server that is gone shows when its answer is read.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    pub fn next(&mut self) -> Next {
        loop {
            match FrameDecoder::new(MAX_REPLY_BYTES).next(&mut self.buffer) {
                Ok(Some(frame)) => return Next::Frame(frame),
                Ok(None) => {}
                // No frame: as good as hung up, and the lines before it tell.
                Err(_) => return Next::HungUp,
            }
            let mut chunk = [0; 16 << 10];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Next::HungUp,
                Ok(len) => self.buffer.extend_from_slice(&chunk[..len]),
                Err(error) if is_timeout(&error) => return Next::Silent,
                Err(_) => return Next::HungUp,
            }
        }
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}
