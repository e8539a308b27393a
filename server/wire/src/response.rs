//! What a server answers.

use bytes::{Bytes, BytesMut};

use crate::acl::Acl;
use crate::error_code::ErrorCode;
use crate::frame;
use crate::header::ReplyHeader;
use crate::ids::Zxid;
use crate::jute::{DecodeError, Reader, Record, Writer};
use crate::multi::{self, MultiResult};
use crate::opcode::OpCode;
use crate::stat::Stat;

/// The body of a reply, or the error that stands in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// Of create; the path as it came to be, with its sequence number.
    Create {
        path: String,
    },
    /// Of create2, createContainer and createTTL.
    Create2 {
        path: String,
        stat: Stat,
    },
    /// Of exists, setData and setACL.
    Stat(Stat),
    /// Of getData, and of reconfig with the new configuration's text as data.
    Data {
        data: Option<Bytes>,
        stat: Stat,
    },
    Acl {
        acl: Vec<Acl>,
        stat: Stat,
    },
    Children {
        children: Vec<String>,
    },
    Children2 {
        children: Vec<String>,
        stat: Stat,
    },
    ChildrenNumber(i32),
    Ephemerals {
        paths: Vec<String>,
    },
    Sync {
        path: String,
    },
    /// Of multi and multiRead, also when they failed.
    Multi {
        results: Vec<MultiResult>,
    },
    Sasl {
        token: Option<Bytes>,
    },
    WhoAmI {
        clients: Vec<ClientInfo>,
    },
    /// Of addWatch: the one success with an error record as its body.
    AddWatch,
    /// Header only: delete, ping, close, auth, setWatches, setWatches2, checkWatches, removeWatches.
    Empty,
    /// Header only, with the code in it.
    Error(ErrorCode),
}

impl Response {
    /// Appends the reply as a frame. The header's error is the response's own, so the two cannot disagree.
    ///
    /// A reply of more than `i32::MAX` bytes has no frame; the client gets MarshallingError instead.
    pub fn encode(&self, xid: i32, zxid: Zxid, out: &mut BytesMut) {
        let err = if let Self::Error(code) = self { Some(*code) } else { None };
        let fits = frame::write(out, |to| {
            ReplyHeader { xid, zxid, err }.write(to);
            self.write(to);
        });
        if !fits {
            Self::Error(ErrorCode::MarshallingError).encode(xid, zxid, out);
        }
    }

    /// Appends the reply to getData as [`Response::Data`] does, from data that stays where it is.
    pub fn encode_data(data: Option<&[u8]>, stat: &Stat, xid: i32, zxid: Zxid, out: &mut BytesMut) {
        let fits = frame::write(out, |to| {
            ReplyHeader { xid, zxid, err: None }.write(to);
            write_data(to, data, stat);
        });
        if !fits {
            Self::Error(ErrorCode::MarshallingError).encode(xid, zxid, out);
        }
    }

    /// Reads the reply to a request of `op` as a client does: header, then body if there is one.
    ///
    /// # Errors
    /// [`DecodeError`] if `frame` is no such reply.
    pub fn decode(op: OpCode, frame: Bytes) -> Result<(ReplyHeader, Self), DecodeError> {
        let mut from = Reader::new(frame);
        let header = ReplyHeader::read(&mut from)?;
        let response = match header.err {
            Some(code) => Self::Error(code),
            None => Self::read(op, &mut from)?,
        };
        Ok((header, response))
    }

    fn read(op: OpCode, from: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match op {
            OpCode::Create => Self::Create { path: from.string("path")? },
            OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
                Self::Create2 { path: from.string("path")?, stat: Stat::read(from)? }
            }
            OpCode::Exists | OpCode::SetData | OpCode::SetAcl => Self::Stat(Stat::read(from)?),
            OpCode::GetData | OpCode::Reconfig => {
                Self::Data { data: from.buffer("data")?, stat: Stat::read(from)? }
            }
            OpCode::GetAcl => Self::Acl { acl: from.vec("acl")?, stat: Stat::read(from)? },
            OpCode::GetChildren => Self::Children { children: from.vec("children")? },
            OpCode::GetChildren2 => {
                Self::Children2 { children: from.vec("children")?, stat: Stat::read(from)? }
            }
            OpCode::GetAllChildrenNumber => Self::ChildrenNumber(from.int("totalNumber")?),
            OpCode::GetEphemerals => Self::Ephemerals { paths: from.vec("ephemerals")? },
            OpCode::Sync => Self::Sync { path: from.string("path")? },
            OpCode::Multi | OpCode::MultiRead => Self::Multi { results: multi::read_results(from)? },
            OpCode::Sasl => Self::Sasl { token: from.buffer("token")? },
            OpCode::WhoAmI => Self::WhoAmI { clients: from.vec("clientInfo")? },
            OpCode::AddWatch => {
                from.int("err")?;
                Self::AddWatch
            }
            OpCode::Delete
            | OpCode::Check
            | OpCode::Ping
            | OpCode::CloseSession
            | OpCode::Auth
            | OpCode::SetWatches
            | OpCode::SetWatches2
            | OpCode::CheckWatches
            | OpCode::RemoveWatches => Self::Empty,
        })
    }

    fn write(&self, to: &mut Writer<'_>) {
        match self {
            Self::Create { path } | Self::Sync { path } => to.string(path),
            Self::Create2 { path, stat } => {
                to.string(path);
                stat.write(to);
            }
            Self::Stat(stat) => stat.write(to),
            Self::Data { data, stat } => write_data(to, data.as_deref(), stat),
            Self::Acl { acl, stat } => {
                to.vec(acl);
                stat.write(to);
            }
            Self::Children { children: strings } | Self::Ephemerals { paths: strings } => to.vec(strings),
            Self::Children2 { children, stat } => {
                to.vec(children);
                stat.write(to);
            }
            Self::ChildrenNumber(number) => to.int(*number),
            Self::Multi { results } => multi::write_results(to, results),
            Self::Sasl { token } => to.buffer(token.as_deref()),
            Self::WhoAmI { clients } => to.vec(clients),
            Self::AddWatch => to.int(0),
            Self::Empty | Self::Error(_) => {}
        }
    }
}

fn write_data(to: &mut Writer<'_>, data: Option<&[u8]>, stat: &Stat) {
    to.buffer(data);
    stat.write(to);
}

/// One identity of the asking connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientInfo {
    pub auth_scheme: String,
    /// For digest the name alone, never what follows the colon.
    pub user: String,
}

impl Record for ClientInfo {
    const MIN_LEN: usize = 8;

    fn read(from: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { auth_scheme: from.string("authScheme")?, user: from.string("user")? })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.string(&self.auth_scheme);
        to.string(&self.user);
    }
}
