//! A client that hides nothing: frames go out and come in one by one.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use zke_wire::{
    Acl, ConnectRequest, ConnectResponse, ErrorCode, FrameDecoder, OpCode, ReplyHeader, Request, Response,
    SessionId, Stat, WatcherEvent, Zxid,
};

/// Long enough for a slow machine, short enough that a missing answer is a failure and not a hung test.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Raw {
    stream: Box<dyn Stream>,
    buffer: BytesMut,
}

/// What bytes go through: a socket, or TLS over one.
pub trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

impl Raw {
    pub fn dial(server: SocketAddr) -> Raw {
        Raw::over(dial(server))
    }

    pub fn over(stream: impl Stream + 'static) -> Raw {
        Raw { stream: Box::new(stream), buffer: BytesMut::new() }
    }

    /// Connects with a new session of 10 s.
    pub fn connect(server: SocketAddr) -> (Raw, ConnectResponse) {
        let mut raw = Raw::dial(server);
        let granted = raw.ask_session(&new_session());
        assert_ne!(granted.session_id, SessionId::NONE);
        (raw, granted)
    }

    pub fn ask_session(&mut self, request: &ConnectRequest) -> ConnectResponse {
        let mut out = BytesMut::new();
        request.encode(&mut out);
        self.write(&out);
        ConnectResponse::decode(self.frame()).unwrap()
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
        self.stream.flush().unwrap();
    }

    /// False if the server has hung up.
    #[allow(dead_code, reason = "not every test binary that shares this file is turned away")]
    pub fn try_write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// The next frame; `None` if the server hangs up before.
    #[allow(dead_code, reason = "not every test binary that shares this file is turned away")]
    pub fn try_frame(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = FrameDecoder::new(64 << 20).next(&mut self.buffer).unwrap() {
                return Some(frame);
            }
            let mut chunk = [0; 4_096];
            match self.stream.read(&mut chunk) {
                Ok(0) | Err(_) => return None,
                Ok(len) => self.buffer.extend_from_slice(&chunk[..len]),
            }
        }
    }

    pub fn send(&mut self, xid: i32, request: &Request) {
        self.send_all(&[(xid, request.clone())]);
    }

    /// All in one write, so that the server reads them together.
    pub fn send_all(&mut self, requests: &[(i32, Request)]) {
        let mut out = BytesMut::new();
        for (xid, request) in requests {
            request.encode(*xid, &mut out);
        }
        self.write(&out);
    }

    pub fn frame(&mut self) -> Bytes {
        loop {
            if let Some(frame) = FrameDecoder::new(64 << 20).next(&mut self.buffer).unwrap() {
                return frame;
            }
            let mut chunk = [0; 65_536];
            let len = self.stream.read(&mut chunk).expect("an answer in time");
            assert!(len > 0, "the server hung up");
            self.buffer.extend_from_slice(&chunk[..len]);
        }
    }

    pub fn reply(&mut self, op: OpCode) -> (ReplyHeader, Response) {
        Response::decode(op, self.frame()).unwrap()
    }

    pub fn event(&mut self) -> (Zxid, WatcherEvent) {
        let mut frame = self.frame();
        let header = frame.split_to(16);
        assert_eq!(header[..4], (-1_i32).to_be_bytes(), "a notification");
        let zxid = i64::from_be_bytes(header[4..12].try_into().unwrap());
        (Zxid(zxid), WatcherEvent::decode(frame).unwrap())
    }

    /// Sends one request and returns the answer to it.
    pub fn call(&mut self, request: Request) -> Result<Response, ErrorCode> {
        self.send(1, &request);
        let (header, response) = self.reply(request.op());
        assert_eq!(header.xid, 1);
        header.err.map_or(Ok(response), Err)
    }

    /// Whether the server says nothing more and hangs up.
    pub fn hung_up(&mut self) -> bool {
        assert!(self.buffer.is_empty(), "the server had more to say");
        match self.stream.read(&mut [0; 1]) {
            Ok(len) => len == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    /// The xids of all that comes before the server hangs up.
    pub fn xids_to_the_end(&mut self) -> Vec<i32> {
        let mut xids = Vec::new();
        loop {
            while let Some(frame) = FrameDecoder::new(64 << 20).next(&mut self.buffer).unwrap() {
                xids.push(i32::from_be_bytes(frame[..4].try_into().unwrap()));
            }
            let mut chunk = [0; 4_096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return xids,
                Ok(len) => self.buffer.extend_from_slice(&chunk[..len]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return xids,
                Err(error) => panic!("no end in time: {error}"),
            }
        }
    }

    /// Everything up to the end of the connection.
    pub fn rest(&mut self) -> String {
        let mut text = String::new();
        self.stream.read_to_string(&mut text).unwrap();
        text
    }
}

/// A socket that does not wait for ever.
pub fn dial(server: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(server).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

pub fn new_session() -> ConnectRequest {
    ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid(0),
        timeout_ms: 10_000,
        session_id: SessionId::NONE,
        password: Bytes::from_static(&[0; 16]),
        read_only: Some(false),
    }
}

/// The request by which a client takes up what it was granted.
pub fn same_session(granted: &ConnectResponse) -> ConnectRequest {
    ConnectRequest {
        session_id: granted.session_id,
        password: Bytes::copy_from_slice(&granted.password),
        ..new_session()
    }
}

pub fn create(path: &str, data: &str, flags: i32) -> Request {
    let data = Some(Bytes::copy_from_slice(data.as_bytes()));
    Request::Create { path: path.to_owned(), data, acl: vec![Acl::open()], flags, with_stat: false }
}

pub fn delete(path: &str) -> Request {
    Request::Delete { path: path.to_owned(), version: -1 }
}

pub fn create2(path: &str, flags: i32) -> Request {
    Request::Create { path: path.to_owned(), data: None, acl: vec![Acl::open()], flags, with_stat: true }
}

pub fn check(path: &str, version: i32) -> Request {
    Request::Check { path: path.to_owned(), version }
}

pub fn set(path: &str, data: &str) -> Request {
    set_version(path, data, -1)
}

pub fn set_version(path: &str, data: &str, version: i32) -> Request {
    Request::SetData { path: path.to_owned(), data: Some(Bytes::copy_from_slice(data.as_bytes())), version }
}

pub fn get(path: &str) -> Request {
    Request::GetData { path: path.to_owned(), watch: false }
}

pub fn exists(path: &str) -> Request {
    Request::Exists { path: path.to_owned(), watch: false }
}

pub fn children(path: &str) -> Request {
    Request::GetChildren { path: path.to_owned(), watch: false, with_stat: false }
}

pub fn watching(request: Request) -> Request {
    match request {
        Request::GetData { path, .. } => Request::GetData { path, watch: true },
        Request::Exists { path, .. } => Request::Exists { path, watch: true },
        Request::GetChildren { path, with_stat, .. } => Request::GetChildren { path, watch: true, with_stat },
        other => panic!("nothing to watch in {other:?}"),
    }
}

pub fn data_of(response: Result<Response, ErrorCode>) -> (String, Stat) {
    match response {
        Ok(Response::Data { data: Some(data), stat }) => (String::from_utf8(data.to_vec()).unwrap(), stat),
        other => panic!("not the answer to getData: {other:?}"),
    }
}

pub fn stat_of(response: Result<Response, ErrorCode>) -> Stat {
    match response {
        Ok(Response::Stat(stat)) => stat,
        other => panic!("not a stat: {other:?}"),
    }
}

pub fn created(path: &str) -> Result<Response, ErrorCode> {
    Ok(Response::Create { path: path.to_owned() })
}

pub fn auth(scheme: &str, auth: &str) -> Request {
    Request::Auth { scheme: scheme.to_owned(), auth: Bytes::copy_from_slice(auth.as_bytes()) }
}

/// Who the server takes the client for, as scheme and user.
pub fn who_am_i(client: &mut Raw) -> Vec<(String, String)> {
    match client.call(Request::WhoAmI) {
        Ok(Response::WhoAmI { clients }) => {
            clients.into_iter().map(|info| (info.auth_scheme, info.user)).collect()
        }
        other => panic!("not the answer to whoAmI: {other:?}"),
    }
}

/// Of a node without data.
pub fn data_less_stat(response: Result<Response, ErrorCode>) -> Stat {
    match response {
        Ok(Response::Data { data: None, stat }) => stat,
        other => panic!("not the answer to getData: {other:?}"),
    }
}

/// The version of `dir/node`.
pub fn data_version(client: &mut Raw, dir: &str) -> i32 {
    stat_of(client.call(exists(&format!("{dir}/node")))).version
}
