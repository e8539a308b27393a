//! What the client makes of a server's bytes, right and wrong ones. The peer is a script: no server that we know of
//! sends the wrong ones.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::timeout;
use zke_client::{ClientError, Connection, Message, Reply, new_session, same_session};
use zke_wire::{
    ConnectRequest, ConnectResponse, ErrorCode, EventKind, FrameDecoder, Request, Response, SessionId,
    WatcherEvent, Zxid, encode_event, xid,
};

const GRANTED: ConnectResponse = ConnectResponse {
    timeout_ms: 8_000,
    session_id: SessionId(7),
    password: [3; 16],
    read_only: Some(false),
};

/// Serves one connection: answers the handshake with `granted`, then sends `bytes` once `requests` frames are there,
/// and hangs up when the client does.
fn peer(
    granted: ConnectResponse,
    requests: usize,
    bytes: BytesMut,
) -> (SocketAddr, JoinHandle<ConnectRequest>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = BytesMut::new();
        let request = ConnectRequest::decode(frame(&mut stream, &mut buffer).unwrap()).unwrap();
        let mut out = BytesMut::new();
        granted.encode(&mut out);
        stream.write_all(&out).unwrap();
        (0..requests).for_each(|_| drop(frame(&mut stream, &mut buffer).unwrap()));
        stream.write_all(&bytes).unwrap();
        while frame(&mut stream, &mut buffer).is_some() {}
        request
    });
    (address, served)
}

fn frame(stream: &mut TcpStream, buffer: &mut BytesMut) -> Option<Bytes> {
    loop {
        if let Some(frame) = FrameDecoder::new(64 << 20).next(buffer).unwrap() {
            return Some(frame);
        }
        let mut chunk = [0; 4_096];
        let len = stream.read(&mut chunk).unwrap();
        if len == 0 {
            return None;
        }
        buffer.extend_from_slice(&chunk[..len]);
    }
}

fn delete(path: &str) -> Request {
    Request::Delete { path: path.to_owned(), version: -1 }
}

fn replies(replies: &[(i32, Response)]) -> BytesMut {
    let mut out = BytesMut::new();
    replies.iter().for_each(|(xid, response)| response.encode(*xid, Zxid(9), &mut out));
    out
}

fn reply(xid: i32, result: Result<Response, ErrorCode>) -> Message {
    Message::Reply(Reply { xid, zxid: Zxid(9), result })
}

#[tokio::test]
async fn replies_events_and_an_early_auth_find_their_places() {
    let mut bytes = replies(&[(xid::AUTH, Response::Empty), (1, Response::Empty)]);
    let event = WatcherEvent { kind: EventKind::NodeDeleted, path: "/a".into() };
    encode_event(Zxid(5), &event, &mut bytes);
    Response::Error(ErrorCode::NoNode).encode(2, Zxid(9), &mut bytes);
    let (address, served) = peer(GRANTED, 3, bytes);
    let mut connection = Connection::open(address, &new_session(10_000), 3).await.unwrap();
    assert_eq!(connection.granted(), &GRANTED);

    assert_eq!(connection.send(&delete("/a")).unwrap(), 1);
    let auth = Request::Auth { scheme: "digest".to_owned(), auth: Bytes::from_static(b"a:b") };
    assert_eq!(connection.send(&auth).unwrap(), xid::AUTH);
    assert_eq!(connection.send(&delete("/b")).unwrap(), 2);
    assert!(matches!(connection.send(&delete("/c")), Err(ClientError::Full { max: 3 })));

    assert_eq!(connection.next().await.unwrap(), reply(xid::AUTH, Ok(Response::Empty)));
    assert_eq!(connection.next().await.unwrap(), reply(1, Ok(Response::Empty)));
    assert_eq!(connection.next().await.unwrap(), Message::Event { zxid: Zxid(5), event });
    assert_eq!(connection.next().await.unwrap(), reply(2, Err(ErrorCode::NoNode)));
    assert_eq!(connection.unanswered(), 0);
    drop(connection);
    assert_eq!(served.join().unwrap(), new_session(10_000));
}

#[tokio::test]
async fn a_reply_that_is_not_the_next_one_is_an_error() {
    let (address, _served) = peer(GRANTED, 2, replies(&[(2, Response::Empty), (1, Response::Empty)]));
    let mut connection = Connection::open(address, &new_session(10_000), 8).await.unwrap();
    connection.send(&delete("/a")).unwrap();
    connection.send(&delete("/b")).unwrap();
    let error = connection.next().await.unwrap_err();
    assert!(matches!(error, ClientError::OutOfOrder { expected: Some(1), got: 2 }), "{error:?}");
}

#[tokio::test]
async fn a_reply_that_nobody_asked_for_is_an_error() {
    let (address, _served) = peer(GRANTED, 0, replies(&[(1, Response::Empty)]));
    let mut connection = Connection::open(address, &new_session(10_000), 8).await.unwrap();
    let error = connection.next().await.unwrap_err();
    assert!(matches!(error, ClientError::OutOfOrder { expected: None, got: 1 }), "{error:?}");
}

#[tokio::test]
async fn a_session_is_taken_up_with_what_was_granted_and_may_be_gone() {
    let request = same_session(&GRANTED, Zxid(4));
    let (address, served) = peer(ConnectResponse::expired(&request), 0, BytesMut::new());
    let refused = Connection::open(address, &request, 1).await;
    assert!(matches!(refused, Err(ClientError::SessionExpired)));
    let asked = served.join().unwrap();
    assert_eq!((asked.session_id, &asked.password[..]), (SessionId(7), &[3; 16][..]));
    assert_eq!(asked.last_zxid_seen, Zxid(4));
}

#[tokio::test]
async fn more_requests_than_a_socket_holds_do_not_block_the_replies() {
    // The peer reads nothing of the large request before it has sent a large reply.
    let data = Bytes::from(vec![1; 8 << 20]);
    let large = Response::Data { data: Some(data.clone()), stat: Default::default() };
    let (address, _served) = peer(GRANTED, 1, replies(&[(1, large)]));
    let mut connection = Connection::open(address, &new_session(10_000), 8).await.unwrap();
    connection.send(&Request::GetData { path: "/a".to_owned(), watch: false }).unwrap();
    connection.flush().await.unwrap();
    connection
        .send(&Request::SetData { path: "/a".to_owned(), data: Some(data.clone()), version: -1 })
        .unwrap();
    // A client that only wrote would wait for ever.
    let received = timeout(Duration::from_secs(10), connection.next()).await.unwrap();
    let Message::Reply(reply) = received.unwrap() else { panic!("an event") };
    assert!(matches!(reply.result, Ok(Response::Data { data: Some(got), .. }) if got == data));
}
