//! Jute, ZooKeeper's record encoding: fields in order, big-endian, no tags; buffers, strings and vectors behind an
//! int length, where -1 is null.
//!
//! A [`Reader`] trusts nothing: a length or a count that what is left cannot hold is an error before anything is
//! allocated. Buffers it returns share the frame's memory. Bytes behind the last field are ignored, as in ZooKeeper.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::error_code::ErrorCode;

/// A record of the protocol.
pub trait Record: Sized {
    /// The fewest bytes one can take; bounds how many of them a count can truthfully claim.
    const MIN_LEN: usize;

    /// # Errors
    /// [`DecodeError`] if what is left does not begin with such a record.
    fn read(from: &mut Reader) -> Result<Self, DecodeError>;

    fn write(&self, to: &mut Writer<'_>);
}

/// Bytes that are not what they should be. A server answers MarshallingError and goes on with the next frame, save for
/// a connect request, after which it closes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("cannot read {field}: the message ends inside it")]
    Truncated { field: &'static str },
    #[error("cannot read {field}: length {length} is negative or beyond the end of the message")]
    Length { field: &'static str, length: i32 },
    #[error("cannot read {field}: it is null")]
    Null { field: &'static str },
    #[error("cannot read {field}: it is not UTF-8")]
    Text { field: &'static str },
    #[error("cannot read {field}: {value} is not one of its values")]
    UnknownValue { field: &'static str, value: i32 },
}

impl From<DecodeError> for ErrorCode {
    fn from(_: DecodeError) -> Self {
        Self::MarshallingError
    }
}

/// Takes fields off the front of a frame. Each `field` names what is read, for the error.
#[derive(Debug, Clone)]
pub struct Reader {
    rest: Bytes,
}

impl Reader {
    pub fn new(frame: Bytes) -> Self {
        Self { rest: frame }
    }

    /// How many bytes no field has taken yet.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// What no field has taken yet.
    pub fn into_rest(self) -> Bytes {
        self.rest
    }

    /// Any byte but 0 is true, as in Java's `readBoolean`.
    pub fn bool(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        Ok(self.rest.try_get_u8().map_err(|_| DecodeError::Truncated { field })? != 0)
    }

    pub fn int(&mut self, field: &'static str) -> Result<i32, DecodeError> {
        self.rest.try_get_i32().map_err(|_| DecodeError::Truncated { field })
    }

    pub fn long(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        self.rest.try_get_i64().map_err(|_| DecodeError::Truncated { field })
    }

    /// `None` is null, which is not the same as empty.
    pub fn buffer(&mut self, field: &'static str) -> Result<Option<Bytes>, DecodeError> {
        Ok(self.length(field, 1)?.map(|len| self.rest.split_to(len)))
    }

    pub fn nullable_string(&mut self, field: &'static str) -> Result<Option<String>, DecodeError> {
        self.buffer(field)?.map(|bytes| decode_text(&bytes).ok_or(DecodeError::Text { field })).transpose()
    }

    pub fn string(&mut self, field: &'static str) -> Result<String, DecodeError> {
        self.nullable_string(field)?.ok_or(DecodeError::Null { field })
    }

    pub fn nullable_vec<T: Record>(&mut self, field: &'static str) -> Result<Option<Vec<T>>, DecodeError> {
        let Some(count) = self.length(field, T::MIN_LEN)? else { return Ok(None) };
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            elements.push(T::read(self)?);
        }
        Ok(Some(elements))
    }

    /// Null reads as empty.
    pub fn vec<T: Record>(&mut self, field: &'static str) -> Result<Vec<T>, DecodeError> {
        Ok(self.nullable_vec(field)?.unwrap_or_default())
    }

    /// A length or count of elements of at least `element_len` bytes that what is left can hold; `None` for null.
    fn length(&mut self, field: &'static str, element_len: usize) -> Result<Option<usize>, DecodeError> {
        let length = self.int(field)?;
        if length == -1 {
            return Ok(None);
        }
        match usize::try_from(length) {
            Ok(count) if count <= self.rest.len() / element_len => Ok(Some(count)),
            _ => Err(DecodeError::Length { field, length }),
        }
    }
}

/// Appends fields to a buffer.
///
/// A length beyond `i32::MAX` is written as `i32::MAX`: the frame around it is then beyond that limit as well, and
/// [`Response::encode`](crate::Response::encode) never lets such a frame out.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut BytesMut,
}

impl<'a> Writer<'a> {
    pub fn new(out: &'a mut BytesMut) -> Self {
        Self { out }
    }

    pub fn bool(&mut self, value: bool) {
        self.out.put_u8(value.into());
    }

    pub fn int(&mut self, value: i32) {
        self.out.put_i32(value);
    }

    pub fn long(&mut self, value: i64) {
        self.out.put_i64(value);
    }

    /// Writes what [`Reader::buffer`] reads: `None` as null.
    pub fn buffer(&mut self, value: Option<&[u8]>) {
        match value {
            None => self.int(-1),
            Some(bytes) => {
                self.length(bytes.len());
                self.out.put_slice(bytes);
            }
        }
    }

    pub fn string(&mut self, value: &str) {
        self.buffer(Some(value.as_bytes()));
    }

    pub fn nullable_string(&mut self, value: Option<&str>) {
        self.buffer(value.map(str::as_bytes));
    }

    pub fn vec<T: Record>(&mut self, elements: &[T]) {
        self.length(elements.len());
        for element in elements {
            element.write(self);
        }
    }

    fn length(&mut self, length: usize) {
        self.int(i32::try_from(length).unwrap_or(i32::MAX));
    }
}

/// An element of `vec<ustring>`.
impl Record for String {
    const MIN_LEN: usize = 4;

    fn read(from: &mut Reader) -> Result<Self, DecodeError> {
        from.string("string in a vector")
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.string(self);
    }
}

/// UTF-8, and besides it what Java's writer makes of a character beyond the basic plane: its two surrogates, each as
/// three bytes of their own (CESU-8).
fn decode_text(bytes: &[u8]) -> Option<String> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Some(text.to_owned());
    }
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(chunk) = rest.utf8_chunks().next() {
        text.push_str(chunk.valid());
        rest = rest.get(chunk.valid().len()..)?;
        match rest {
            [] => break,
            [0xed, a @ 0xa0..=0xaf, b @ 0x80..=0xbf, 0xed, c @ 0xb0..=0xbf, d @ 0x80..=0xbf, tail @ ..] => {
                let [a, b, c, d] = [a, b, c, d].map(|byte| u32::from(*byte));
                let high = (a & 0x0f) << 6 | (b & 0x3f);
                let low = (c & 0x0f) << 6 | (d & 0x3f);
                text.push(char::from_u32(0x1_0000 + (high << 10 | low))?);
                rest = tail;
            }
            _ => return None,
        }
    }
    Some(text)
}
