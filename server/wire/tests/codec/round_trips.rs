//! What is encoded is decoded again, unchanged and to its last byte.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use zke_wire::*;

use crate::arbitrary;

/// The one message that `encode` wrote.
fn framed(encode: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::new();
    encode(&mut out);
    let frame = FrameDecoder::new(usize::MAX).next(&mut out).expect("a legal length").expect("a whole frame");
    assert!(out.is_empty(), "bytes behind the frame");
    frame
}

proptest! {
    #[test]
    fn requests(request in arbitrary::request(), xid: i32) {
        let mut from = Reader::new(framed(|out| request.encode(xid, out)));
        let header = RequestHeader::read(&mut from)?;
        prop_assert_eq!(header.xid, xid);
        let op = OpCode::from_i32(header.op).expect("a known opcode");
        prop_assert_eq!(Request::decode(op, from.into_rest())?, request);
    }

    /// Cut anywhere, a request is refused, never read as another one.
    #[test]
    fn cut_requests_are_refused(request in arbitrary::request(), cut: proptest::sample::Index) {
        let body = framed(|out| request.encode(0, out)).slice(RequestHeader::MIN_LEN..);
        prop_assume!(!body.is_empty());
        Request::decode(request.op(), body.slice(..cut.index(body.len()))).expect_err("a part of a request");
    }

    #[test]
    fn responses((op, response) in arbitrary::response(), xid: i32, zxid: i64) {
        let frame = framed(|out| response.encode(xid, Zxid(zxid), out));
        let (header, decoded) = Response::decode(op, frame)?;
        let err = if let Response::Error(code) = &response { Some(*code) } else { None };
        prop_assert_eq!(header, ReplyHeader { xid, zxid: Zxid(zxid), err });
        prop_assert_eq!(decoded, response);
    }

    #[test]
    fn handshakes(request in arbitrary::connect_request(), response in arbitrary::connect_response()) {
        prop_assert_eq!(ConnectRequest::decode(framed(|out| request.encode(out)))?, request);
        prop_assert_eq!(ConnectResponse::decode(framed(|out| response.encode(out)))?, response);
    }

    #[test]
    fn events(kind in proptest::sample::select(EventKind::ALL), path: String, zxid: i64) {
        let event = WatcherEvent { kind, path: path.into() };
        let mut from = Reader::new(framed(|out| encode_event(Zxid(zxid), &event, out)));
        let header = ReplyHeader::read(&mut from)?;
        prop_assert_eq!(header, ReplyHeader { xid: xid::NOTIFICATION, zxid: Zxid(zxid), err: None });
        prop_assert_eq!(WatcherEvent::decode(from.into_rest())?, event);
    }

    /// However a stream is cut into pieces on its way, the same messages come out.
    #[test]
    fn streams(messages: Vec<Vec<u8>>, pieces in prop::collection::vec(1..20usize, 1..50)) {
        let mut stream = BytesMut::new();
        for message in &messages {
            stream.extend_from_slice(&(message.len() as u32).to_be_bytes());
            stream.extend_from_slice(message);
        }
        let mut arrived = BytesMut::new();
        let mut decoded = Vec::new();
        let mut pieces = pieces.iter().cycle();
        while !stream.is_empty() {
            let piece = (*pieces.next().expect("a cycle")).min(stream.len());
            arrived.unsplit(stream.split_to(piece));
            while let Some(frame) = FrameDecoder::new(1 << 20).next(&mut arrived)? {
                decoded.push(frame.to_vec());
            }
        }
        prop_assert_eq!(decoded, messages);
    }
}
