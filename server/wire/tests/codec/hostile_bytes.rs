//! Bytes that no honest peer sends: an answer or an error, never a panic.

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use zke_wire::*;

use crate::arbitrary;

fn decode_as_everything(bytes: &Bytes) {
    for &op in OpCode::ALL {
        let _ = Request::decode(op, bytes.clone());
        let _ = Response::decode(op, bytes.clone());
    }
    let _ = ConnectRequest::decode(bytes.clone());
    let _ = ConnectResponse::decode(bytes.clone());
    let _ = WatcherEvent::decode(bytes.clone());
}

proptest! {
    #[test]
    fn random_bytes(bytes in vec(any::<u8>(), 0..300)) {
        decode_as_everything(&bytes.into());
    }

    /// Small numbers everywhere, so that lengths and counts are often believable.
    #[test]
    fn believable_bytes(words in vec(-2..40i32, 0..80)) {
        decode_as_everything(&words.iter().flat_map(|word| word.to_be_bytes()).collect::<Bytes>());
    }

    /// Honest requests with some bytes changed reach the depths of every record.
    #[test]
    fn damaged_requests(request in arbitrary::request(), damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut frame = BytesMut::new();
        request.encode(0, &mut frame);
        for (place, byte) in damage {
            let place = place.index(frame.len());
            frame[place] = byte;
        }
        decode_as_everything(&frame.freeze().slice(12..));
    }

    #[test]
    fn random_streams(bytes in vec(any::<u8>(), 0..300), max_len in 0..300usize) {
        let mut stream = BytesMut::from(bytes.as_slice());
        let decoder = FrameDecoder::new(max_len);
        let _ = decoder.first(&mut stream);
        while let Ok(Some(frame)) = decoder.next(&mut stream) {
            prop_assert!(frame.len() <= max_len);
        }
    }

    #[test]
    fn random_paths(path: String) {
        let legal = path::validate(&path).is_ok();
        prop_assert!(!legal || path.starts_with('/'));
        if let (true, Some(parent)) = (legal, path::parent(&path)) {
            prop_assert_eq!(path::validate(parent), Ok(()));
            let between = if parent == "/" { "" } else { "/" };
            prop_assert_eq!(format!("{parent}{between}{}", path::name(&path)), path);
        }
    }
}
