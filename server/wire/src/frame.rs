//! Cuts a byte stream into messages: an int length, then that many bytes, both ways.

use bytes::{Buf, Bytes, BytesMut};

use crate::jute::Writer;

const LENGTH_LEN: usize = 4;

/// Yields the messages of one connection. Holds no bytes itself and reserves none: the caller's buffer grows with
/// what the peer has really sent.
#[derive(Debug, Clone, Copy)]
pub struct FrameDecoder {
    max_len: usize,
}

/// How a connection opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirstBytes {
    /// A client that wants a session: the body of its connect request.
    Frame(Bytes),
    /// A person or a probe: four lower-case letters. Whether it is a word that anybody knows is for the caller.
    FourLetter([u8; 4]),
}

/// A length no peer that speaks the protocol sends. Nothing behind it can be understood: close the connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("cannot read a message: its length {length} is negative")]
    Negative { length: i32 },
    #[error(
        "cannot read a message of {length} bytes: the limit is {max_len}, raise jute.maxbuffer on both sides"
    )]
    TooLong { length: i32, max_len: usize },
}

impl FrameDecoder {
    /// `jute.maxbuffer` of a ZooKeeper whose configuration says nothing, in bytes.
    pub const DEFAULT_MAX_LEN: usize = 0xf_ffff;

    /// Accepts messages of up to `max_len` bytes, their 4 length bytes not counted.
    pub fn new(max_len: usize) -> Self {
        Self { max_len }
    }

    /// The first message of a connection, once it is whole: only there, a four-letter word may stand instead.
    ///
    /// # Errors
    /// [`FrameError`] if it begins with a length that is out of bounds.
    pub fn first(&self, buffer: &mut BytesMut) -> Result<Option<FirstBytes>, FrameError> {
        if let Some(word) =
            buffer.first_chunk::<4>().copied().filter(|word| word.iter().all(u8::is_ascii_lowercase))
        {
            buffer.advance(word.len());
            return Ok(Some(FirstBytes::FourLetter(word)));
        }
        Ok(self.next(buffer)?.map(FirstBytes::Frame))
    }

    /// Takes the next message off the front of `buffer`; `None` while it is not whole.
    ///
    /// # Errors
    /// [`FrameError`] if it begins with a length that is out of bounds, as soon as the length is there.
    pub fn next(&self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        let Some(length) = buffer.first_chunk().map(|bytes| i32::from_be_bytes(*bytes)) else {
            return Ok(None);
        };
        let len = usize::try_from(length).map_err(|_| FrameError::Negative { length })?;
        if len > self.max_len {
            return Err(FrameError::TooLong { length, max_len: self.max_len });
        }
        if buffer.len() - LENGTH_LEN < len {
            return Ok(None);
        }
        buffer.advance(LENGTH_LEN);
        Ok(Some(buffer.split_to(len).freeze()))
    }
}

/// Appends what `body` writes as one message. Returns false, with `out` as it was, if its length does not fit.
pub(crate) fn write(out: &mut BytesMut, body: impl FnOnce(&mut Writer<'_>)) -> bool {
    let start = out.len();
    Writer::new(out).int(0);
    body(&mut Writer::new(out));
    let Ok(length) = i32::try_from(out.len() - start - LENGTH_LEN) else {
        out.truncate(start);
        return false;
    };
    if let Some(place) = out.get_mut(start..start + LENGTH_LEN) {
        place.copy_from_slice(&length.to_be_bytes());
    }
    true
}
