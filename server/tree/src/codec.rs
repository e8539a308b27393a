//! The bytes of proposals and snapshots: fixed big-endian integers, LEB128 lengths, length-prefixed strings.
//!
//! Reading never panics and never allocates more than a small constant times the bytes that are there, whatever
//! lengths and counts they claim.

use bytes::{Buf, BufMut, Bytes};
use zke_wire::{Acl, Id};

/// Where reading failed. Each format wraps it in its own error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub what: &'static str,
    pub offset: usize,
}

pub(crate) struct Reader {
    rest: Bytes,
    len: usize,
}

macro_rules! fixed {
    ($($name:ident $get:ident $type:ty),*) => {
        $(pub fn $name(&mut self, what: &'static str) -> Result<$type, Malformed> {
            self.need(size_of::<$type>(), what)?;
            Ok(self.rest.$get())
        })*
    };
}

impl Reader {
    pub fn new(bytes: Bytes) -> Self {
        Self { len: bytes.len(), rest: bytes }
    }

    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    fixed! { u8 get_u8 u8, u32 get_u32 u32, i32 get_i32 i32, u64 get_u64 u64, i64 get_i64 i64 }

    pub fn bool(&mut self, what: &'static str) -> Result<bool, Malformed> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.malformed(what)),
        }
    }

    pub fn varint(&mut self, what: &'static str) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.u8(what)?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.malformed(what))
    }

    pub fn varint_u32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        let value = self.varint(what)?;
        u32::try_from(value).map_err(|_| self.malformed(what))
    }

    /// A count of things of which each takes `min_len` bytes or more.
    pub fn count(&mut self, min_len: usize, what: &'static str) -> Result<usize, Malformed> {
        let count = self.varint(what)?;
        let most = self.rest.len() / min_len;
        usize::try_from(count).ok().filter(|&count| count <= most).ok_or_else(|| self.malformed(what))
    }

    /// A slice of the input, not a copy.
    pub fn bytes(&mut self, what: &'static str) -> Result<Bytes, Malformed> {
        let len = self.count(1, what)?;
        Ok(self.rest.split_to(len))
    }

    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Malformed> {
        self.need(N, what)?;
        let mut array = [0; N];
        self.rest.copy_to_slice(&mut array);
        Ok(array)
    }

    pub fn string(&mut self, what: &'static str) -> Result<String, Malformed> {
        let len = self.count(1, what)?;
        let string = self.rest.get(..len).and_then(|bytes| std::str::from_utf8(bytes).ok());
        let string = string.ok_or_else(|| self.malformed(what))?.to_owned();
        self.rest.advance(len);
        Ok(string)
    }

    pub fn ids(&mut self) -> Result<Vec<Id>, Malformed> {
        let count = self.count(2, "identities")?;
        (0..count).map(|_| self.id()).collect()
    }

    pub fn acl(&mut self) -> Result<Vec<Acl>, Malformed> {
        let count = self.count(6, "acl")?;
        (0..count).map(|_| Ok(Acl { perms: self.i32("acl perms")?, id: self.id()? })).collect()
    }

    fn id(&mut self) -> Result<Id, Malformed> {
        Ok(Id { scheme: self.string("scheme")?, id: self.string("id")? })
    }

    /// Fails unless everything was read.
    pub fn finish(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.malformed("bytes behind the end")) }
    }

    pub fn malformed(&self, what: &'static str) -> Malformed {
        Malformed { what, offset: self.len - self.rest.len() }
    }

    fn need(&self, len: usize, what: &'static str) -> Result<(), Malformed> {
        if self.rest.len() < len { Err(self.malformed(what)) } else { Ok(()) }
    }
}

/// What every buffer of ours can write beyond the integers of [`BufMut`].
pub(crate) trait Put: BufMut {
    fn put_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.put_u8(value as u8);
    }

    fn put_bytes_with_len(&mut self, bytes: &[u8]) {
        self.put_varint(bytes.len() as u64);
        self.put_slice(bytes);
    }

    fn put_ids(&mut self, ids: &[Id]) {
        self.put_varint(ids.len() as u64);
        for id in ids {
            self.put_id(id);
        }
    }

    fn put_acl(&mut self, acl: &[Acl]) {
        self.put_varint(acl.len() as u64);
        for entry in acl {
            self.put_i32(entry.perms);
            self.put_id(&entry.id);
        }
    }

    fn put_id(&mut self, id: &Id) {
        self.put_bytes_with_len(id.scheme.as_bytes());
        self.put_bytes_with_len(id.id.as_bytes());
    }
}

impl<B: BufMut> Put for B {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_of_every_length_come_back() {
        for shift in 0..64 {
            for value in [(1u64 << shift) - 1, 1 << shift, u64::MAX >> shift] {
                let mut out = Vec::new();
                out.put_varint(value);
                let mut from = Reader::new(out.into());
                assert_eq!(from.varint("value"), Ok(value));
                assert_eq!(from.finish(), Ok(()));
            }
        }
    }

    #[test]
    fn a_varint_beyond_64_bits_is_refused() {
        for bytes in
            [&[0xff; 10][..], &[0x80; 11], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]]
        {
            assert!(Reader::new(Bytes::copy_from_slice(bytes)).varint("value").is_err());
        }
    }

    #[test]
    fn a_length_beyond_the_input_is_refused_where_it_stands() {
        let mut from = Reader::new(Bytes::from_static(&[1, 5, b'a']));
        from.u8("first").expect("is there");
        assert_eq!(from.bytes("name"), Err(Malformed { what: "name", offset: 2 }));
    }
}
