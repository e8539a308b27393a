//! Frames that no honest member sends.
//!
//! Built for tests and for `fuzz/` alone, so that what runs for seconds in every test run is what a fuzzer runs for
//! hours. A certificate decides who may speak to a member; what he says may still be anything.

use bytes::Bytes;
use openraft_rt_tokio::TokioRuntime as Tokio;

use crate::codec::{self, Decoded};
use crate::first_start::ProbeAnswer;
use crate::link_frame::{FromLeader, ToLeader};
use crate::peer::Hello;
use crate::transfer_frame::{Answer, Header};

/// Reads the bytes as everything that one member says to another. What can be read must mean the same when it is
/// written again.
///
/// # Panics
/// If it does not.
pub fn frames(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    again(&bytes, Hello::decode, Hello::encode);
    again(&bytes, ProbeAnswer::decode, ProbeAnswer::encode);
    again(&bytes, ToLeader::decode, ToLeader::encode);
    again(&bytes, FromLeader::decode, FromLeader::encode);
    again(&bytes, codec::decode_membership, codec::encode_membership);
    again(&bytes, codec::decode_append::<Tokio>, codec::encode_append);
    again(&bytes, codec::decode_append_result::<Tokio>, codec::encode_append_result);
    again(&bytes, codec::decode_vote_request::<Tokio>, codec::encode_vote_request);
    again(&bytes, codec::decode_vote_response::<Tokio>, codec::encode_vote_response);
    again(&bytes, codec::decode_transfer::<Tokio>, codec::encode_transfer);
    again(&bytes, Header::decode, Header::encode);
    again(&bytes, Answer::decode, Answer::encode);
}

fn again<T>(bytes: &Bytes, decode: impl Fn(Bytes) -> Decoded<T>, encode: impl Fn(&T) -> Bytes) {
    let Ok(message) = decode(bytes.clone()) else { return };
    let written = encode(&message);
    let read = decode(written.clone()).expect("what was encoded here");
    assert_eq!(encode(&read), written);
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Numbers of four and eight bytes that are often small, behind bytes that are often a kind or a flag.
    fn believable() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            (0..4u8).prop_map(|byte| vec![byte]),
            (0..9u32).prop_map(|number| number.to_be_bytes().to_vec()),
            (0..9u64).prop_map(|number| number.to_be_bytes().to_vec()),
        ];
        vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in vec(any::<u8>(), 0..200)) {
            frames(&bytes);
        }

        #[test]
        fn believable_bytes(bytes in believable()) {
            frames(&bytes);
        }
    }
}
