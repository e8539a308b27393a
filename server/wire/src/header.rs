//! What stands in front of every request and every reply.

use crate::error_code::ErrorCode;
use crate::ids::Zxid;
use crate::jute::{DecodeError, Reader, Record, Writer};

/// The xids that are not a client's own counter. A server goes by opcode and echoes the xid; only a ping's reply
/// always carries [`PING`](xid::PING).
pub mod xid {
    pub const NOTIFICATION: i32 = -1;
    pub const PING: i32 = -2;
    pub const AUTH: i32 = -4;
    pub const SET_WATCHES: i32 = -8;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHeader {
    /// Chosen by the client, echoed in the reply.
    pub xid: i32,
    /// For [`OpCode::from_i32`](crate::OpCode::from_i32): an unknown one is an answer, not a decoding error.
    pub op: i32,
}

impl Record for RequestHeader {
    const MIN_LEN: usize = 8;

    fn read(from: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { xid: from.int("xid")?, op: from.int("request type")? })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.int(self.xid);
        to.int(self.op);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyHeader {
    pub xid: i32,
    /// Of the write itself, or the last one the server had processed; clients remember the highest.
    pub zxid: Zxid,
    /// `None` is ZooKeeper's 0, OK. With an error no body follows.
    pub err: Option<ErrorCode>,
}

impl Record for ReplyHeader {
    const MIN_LEN: usize = 16;

    fn read(from: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            xid: from.int("xid")?,
            zxid: Zxid(from.long("zxid")?),
            err: read_error(from.int("reply error")?)?,
        })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.int(self.xid);
        to.long(self.zxid.0);
        to.int(self.err.map_or(0, ErrorCode::code));
    }
}

/// 0 is no error; a number nobody knows is a malformed reply.
pub(crate) fn read_error(code: i32) -> Result<Option<ErrorCode>, DecodeError> {
    if code == 0 {
        return Ok(None);
    }
    ErrorCode::from_code(code).map(Some).ok_or(DecodeError::UnknownValue { field: "error code", value: code })
}
