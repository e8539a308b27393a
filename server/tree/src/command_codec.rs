//! The bytes of commands inside a proposal: one tag byte, then the fields in order.
//!
//! These bytes are in logs and archives. A tag and its fields never change their meaning; what is new gets a new tag.

use bytes::{BufMut, Bytes, BytesMut};
use zke_wire::{Acl, ErrorCode, SessionId, Zxid};

use crate::codec::{Malformed, Put, Reader};
use crate::command::{Command, WriteOp};
use crate::configuration::Reconfig;
use crate::ids::MemberId;

mod tag {
    pub const CREATE: u8 = 1;
    pub const DELETE: u8 = 2;
    pub const SET_DATA: u8 = 3;
    pub const SET_ACL: u8 = 4;
    pub const CHECK: u8 = 5;
    pub const MULTI: u8 = 6;
    pub const CREATE_CONTAINER: u8 = 7;
    pub const CREATE_TTL: u8 = 8;
    pub const RECONFIG: u8 = 9;
    pub const CREATE_SESSION: u8 = 32;
    pub const ATTACH_SESSION: u8 = 33;
    pub const CLOSE_SESSION: u8 = 34;
    pub const REFUSED: u8 = 35;
    pub const DELETE_CONTAINER: u8 = 36;
    pub const SET_SERVING: u8 = 64;
    pub const TAKE_CONTROL: u8 = 65;
    pub const RETIRE_MEMBER: u8 = 66;
    pub const FORGET_MARKS: u8 = 67;
    pub const RAISE_EPOCH: u8 = 68;
    pub const CONFIGURE: u8 = 69;
    pub const RAISE_APPLY_LEVEL: u8 = 70;
}

impl Command {
    pub(crate) fn write(&self, out: &mut BytesMut) {
        match self {
            Self::Client { session, attach_epoch, identities, op } => {
                out.put_u8(op.tag());
                out.put_i64(session.0);
                out.put_u32(*attach_epoch);
                out.put_ids(identities);
                op.write(out);
            }
            Self::CreateSession { session, password, timeout_ms } => {
                out.put_u8(tag::CREATE_SESSION);
                write_credentials(out, *session, password, *timeout_ms);
            }
            Self::AttachSession { session, password, timeout_ms } => {
                out.put_u8(tag::ATTACH_SESSION);
                write_credentials(out, *session, password, *timeout_ms);
            }
            Self::CloseSession { session, attach_epoch } => {
                out.put_u8(tag::CLOSE_SESSION);
                out.put_i64(session.0);
                out.put_u32(*attach_epoch);
            }
            Self::DeleteContainer { path } => {
                out.put_u8(tag::DELETE_CONTAINER);
                out.put_bytes_with_len(path.as_bytes());
            }
            Self::Refused { code } => {
                out.put_u8(tag::REFUSED);
                out.put_i32(code.code());
            }
            Self::SetServing { control_epoch, serving } => {
                out.put_u8(tag::SET_SERVING);
                out.put_u64(*control_epoch);
                out.put_u8((*serving).into());
            }
            Self::TakeControl {} => out.put_u8(tag::TAKE_CONTROL),
            Self::RetireMember { control_epoch, member } => {
                out.put_u8(tag::RETIRE_MEMBER);
                out.put_u64(*control_epoch);
                out.put_u64(member.0);
            }
            Self::Configure { expect, servers } => {
                out.put_u8(tag::CONFIGURE);
                out.put_i64(expect.0);
                out.put_bytes_with_len(servers.as_bytes());
            }
            Self::ForgetMarks { member, below_incarnation } => {
                out.put_u8(tag::FORGET_MARKS);
                out.put_u64(member.0);
                out.put_u64(*below_incarnation);
            }
            Self::RaiseEpoch { to } => {
                out.put_u8(tag::RAISE_EPOCH);
                out.put_u32(*to);
            }
            Self::RaiseApplyLevel { to } => {
                out.put_u8(tag::RAISE_APPLY_LEVEL);
                out.put_u32(*to);
            }
        }
    }

    pub(crate) fn read(from: &mut Reader) -> Result<Self, Malformed> {
        let tag = from.u8("command tag")?;
        Ok(match tag {
            tag::CREATE..=tag::RECONFIG => Self::Client {
                session: read_session(from)?,
                attach_epoch: from.u32("attach epoch")?,
                identities: from.ids()?,
                op: WriteOp::read(tag, from)?,
            },
            tag::CREATE_SESSION => {
                let (session, password, timeout_ms) = read_credentials(from)?;
                Self::CreateSession { session, password, timeout_ms }
            }
            tag::ATTACH_SESSION => {
                let (session, password, timeout_ms) = read_credentials(from)?;
                Self::AttachSession { session, password, timeout_ms }
            }
            tag::CLOSE_SESSION => {
                Self::CloseSession { session: read_session(from)?, attach_epoch: from.u32("attach epoch")? }
            }
            tag::DELETE_CONTAINER => Self::DeleteContainer { path: from.string("path")? },
            tag::REFUSED => {
                let code = from.i32("error code")?;
                let code = ErrorCode::from_code(code).ok_or_else(|| from.malformed("unknown error code"))?;
                Self::Refused { code }
            }
            tag::SET_SERVING => {
                Self::SetServing { control_epoch: from.u64("control epoch")?, serving: from.bool("serving")? }
            }
            tag::TAKE_CONTROL => Self::TakeControl {},
            tag::RETIRE_MEMBER => {
                Self::RetireMember { control_epoch: from.u64("control epoch")?, member: read_member(from)? }
            }
            tag::CONFIGURE => {
                Self::Configure { expect: Zxid(from.i64("version")?), servers: from.string("servers")? }
            }
            tag::FORGET_MARKS => {
                Self::ForgetMarks { member: read_member(from)?, below_incarnation: from.u64("incarnation")? }
            }
            tag::RAISE_EPOCH => Self::RaiseEpoch { to: from.u32("epoch")? },
            tag::RAISE_APPLY_LEVEL => Self::RaiseApplyLevel { to: from.u32("apply level")? },
            _ => return Err(from.malformed("unknown command tag")),
        })
    }
}

impl WriteOp {
    fn tag(&self) -> u8 {
        match self {
            Self::Create { .. } => tag::CREATE,
            Self::CreateContainer { .. } => tag::CREATE_CONTAINER,
            Self::CreateTtl { .. } => tag::CREATE_TTL,
            Self::Delete { .. } => tag::DELETE,
            Self::SetData { .. } => tag::SET_DATA,
            Self::SetAcl { .. } => tag::SET_ACL,
            Self::Check { .. } => tag::CHECK,
            Self::Reconfig(_) => tag::RECONFIG,
            Self::Multi { .. } => tag::MULTI,
        }
    }

    fn write(&self, out: &mut BytesMut) {
        match self {
            Self::Create { path, data, acl, flags, with_stat } => {
                write_new(out, path, data.as_deref(), acl, *flags);
                out.put_u8((*with_stat).into());
            }
            Self::CreateContainer { path, data, acl, flags } => {
                write_new(out, path, data.as_deref(), acl, *flags)
            }
            Self::CreateTtl { path, data, acl, flags, ttl_ms } => {
                write_new(out, path, data.as_deref(), acl, *flags);
                out.put_i64(*ttl_ms);
            }
            Self::Delete { path, version } | Self::Check { path, version } => {
                out.put_bytes_with_len(path.as_bytes());
                out.put_i32(*version);
            }
            Self::SetData { path, data, version } => {
                out.put_bytes_with_len(path.as_bytes());
                write_data(out, data.as_deref());
                out.put_i32(*version);
            }
            Self::SetAcl { path, acl, version } => {
                out.put_bytes_with_len(path.as_bytes());
                out.put_acl(acl);
                out.put_i32(*version);
            }
            Self::Reconfig(Reconfig { joining, leaving, new_members, config_id }) => {
                for text in [joining, leaving, new_members] {
                    write_data(out, text.as_ref().map(String::as_bytes));
                }
                out.put_i64(*config_id);
            }
            Self::Multi { ops } => {
                out.put_varint(ops.len() as u64);
                for op in ops {
                    out.put_u8(op.tag());
                    op.write(out);
                }
            }
        }
    }

    fn read(tag: u8, from: &mut Reader) -> Result<Self, Malformed> {
        match tag {
            tag::MULTI => {}
            tag::RECONFIG => return read_reconfig(from).map(Self::Reconfig),
            tag => return Self::read_one(tag, from),
        }
        // The shortest is a tag, an empty path and a version.
        let count = from.count(6, "operations of a multi")?;
        let mut read = || Self::read_one(from.u8("write tag")?, from);
        Ok(Self::Multi { ops: (0..count).map(|_| read()).collect::<Result<_, _>>()? })
    }

    /// Anything that may stand in a multi, so bytes cannot nest without end.
    fn read_one(tag: u8, from: &mut Reader) -> Result<Self, Malformed> {
        let path = from.string("path")?;
        Ok(match tag {
            tag::CREATE => Self::Create {
                path,
                data: read_data(from)?,
                acl: from.acl()?,
                flags: from.i32("flags")?,
                with_stat: from.bool("with stat")?,
            },
            tag::CREATE_CONTAINER => Self::CreateContainer {
                path,
                data: read_data(from)?,
                acl: from.acl()?,
                flags: from.i32("flags")?,
            },
            tag::CREATE_TTL => Self::CreateTtl {
                path,
                data: read_data(from)?,
                acl: from.acl()?,
                flags: from.i32("flags")?,
                ttl_ms: from.i64("ttl")?,
            },
            tag::DELETE => Self::Delete { path, version: from.i32("version")? },
            tag::SET_DATA => Self::SetData { path, data: read_data(from)?, version: from.i32("version")? },
            tag::SET_ACL => Self::SetAcl { path, acl: from.acl()?, version: from.i32("version")? },
            tag::CHECK => Self::Check { path, version: from.i32("version")? },
            _ => return Err(from.malformed("unknown write tag")),
        })
    }
}

/// What every kind of create begins with.
fn write_new(out: &mut BytesMut, path: &str, data: Option<&[u8]>, acl: &[Acl], flags: i32) {
    out.put_bytes_with_len(path.as_bytes());
    write_data(out, data);
    out.put_acl(acl);
    out.put_i32(flags);
}

fn write_credentials(out: &mut BytesMut, session: SessionId, password: &[u8; 16], timeout_ms: i32) {
    out.put_i64(session.0);
    out.put_slice(password);
    out.put_i32(timeout_ms);
}

fn read_credentials(from: &mut Reader) -> Result<(SessionId, [u8; 16], i32), Malformed> {
    Ok((read_session(from)?, from.array("password")?, from.i32("timeout")?))
}

fn read_session(from: &mut Reader) -> Result<SessionId, Malformed> {
    from.i64("session").map(SessionId)
}

fn read_member(from: &mut Reader) -> Result<MemberId, Malformed> {
    from.u64("member").map(MemberId)
}

/// No data and empty data are different values.
fn write_data(out: &mut BytesMut, data: Option<&[u8]>) {
    out.put_u8(data.is_some().into());
    if let Some(data) = data {
        out.put_bytes_with_len(data);
    }
}

fn read_data(from: &mut Reader) -> Result<Option<Bytes>, Malformed> {
    if from.bool("has data")? { from.bytes("data").map(Some) } else { Ok(None) }
}

fn read_reconfig(from: &mut Reader) -> Result<Reconfig, Malformed> {
    Ok(Reconfig {
        joining: read_text(from)?,
        leaving: read_text(from)?,
        new_members: read_text(from)?,
        config_id: from.i64("version")?,
    })
}

fn read_text(from: &mut Reader) -> Result<Option<String>, Malformed> {
    if from.bool("has text")? { from.string("text").map(Some) } else { Ok(None) }
}
