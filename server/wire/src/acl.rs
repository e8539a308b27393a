//! Access control lists: who (an [`Id`]) may do what ([`perms`]).

use crate::jute::{DecodeError, Reader, Record, Writer};

/// Permission bits of an [`Acl`].
pub mod perms {
    pub const READ: i32 = 1;
    pub const WRITE: i32 = 2;
    pub const CREATE: i32 = 4;
    pub const DELETE: i32 = 8;
    pub const ADMIN: i32 = 16;
    pub const ALL: i32 = 31;
}

/// An identity: of a connection, or named by an [`Acl`].
#[derive(Debug, Default, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    /// For example `world`, `digest`, `ip`, `sasl`, `x509`, `auth`, `super`.
    pub scheme: String,
    /// In the scheme's own syntax, for example `anyone`, or `user:` and a base64 digest.
    pub id: String,
}

impl Id {
    pub fn new(scheme: impl Into<String>, id: impl Into<String>) -> Self {
        Self { scheme: scheme.into(), id: id.into() }
    }

    /// `world:anyone`, which every connection matches.
    pub fn anyone() -> Self {
        Self::new("world", "anyone")
    }
}

impl Record for Id {
    const MIN_LEN: usize = 8;

    /// A null id is read as an empty one where nobody looks at it: kazoo sends every empty string as null, and
    /// `auth` stands for whoever asks.
    fn read(from: &mut Reader) -> Result<Self, DecodeError> {
        const ID: &str = "acl id";
        let scheme = from.string("acl scheme")?;
        let id =
            if scheme == "auth" { from.nullable_string(ID)?.unwrap_or_default() } else { from.string(ID)? };
        Ok(Self { scheme, id })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.string(&self.scheme);
        to.string(&self.id);
    }
}

/// One entry of an access control list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Acl {
    /// A sum of [`perms`].
    pub perms: i32,
    pub id: Id,
}

impl Acl {
    /// Everything for everyone: what clients send when their user says nothing (`OPEN_ACL_UNSAFE`).
    pub fn open() -> Self {
        Self { perms: perms::ALL, id: Id::anyone() }
    }
}

impl Record for Acl {
    const MIN_LEN: usize = 4 + Id::MIN_LEN;

    fn read(from: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { perms: from.int("acl perms")?, id: Id::read(from)? })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.int(self.perms);
        self.id.write(to);
    }
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut as _, Bytes, BytesMut};

    use super::*;

    fn with_null_id(scheme: &str) -> Result<Id, DecodeError> {
        let mut bytes = BytesMut::new();
        Writer::new(&mut bytes).string(scheme);
        bytes.put_i32(-1);
        Id::read(&mut Reader::new(Bytes::from(bytes)))
    }

    #[test]
    fn only_auth_has_a_null_id() {
        assert_eq!(with_null_id("auth"), Ok(Id::new("auth", "")));
        assert_eq!(with_null_id("digest"), Err(DecodeError::Null { field: "acl id" }));
    }
}
