//! Every message of the client protocol, in both directions.

#![no_main]

use bytes::{Bytes, BytesMut};
use zke_wire::{ConnectRequest, ConnectResponse, FrameDecoder, OpCode, Request, Response, WatcherEvent};

// The first byte chooses, so that the fuzzer sees what each change of the others is good for.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((choice, rest)) = bytes.split_first() else { return };
    let frame = Bytes::copy_from_slice(rest);
    let choice = usize::from(*choice);
    let op = OpCode::ALL[choice / 4 % OpCode::ALL.len()];
    match choice % 4 {
        0 => drop(Request::decode(op, frame)),
        1 => drop(Response::decode(op, frame)),
        2 => {
            let _ = ConnectRequest::decode(frame.clone());
            let _ = ConnectResponse::decode(frame.clone());
            let _ = WatcherEvent::decode(frame);
        }
        _ => {
            let mut stream = BytesMut::from(rest);
            let decoder = FrameDecoder::new(256);
            let _ = decoder.first(&mut stream);
            while let Ok(Some(frame)) = decoder.next(&mut stream) {
                assert!(frame.len() <= 256);
            }
        }
    }
});
