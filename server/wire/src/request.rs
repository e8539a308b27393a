//! What clients ask for, decoded.

use bytes::{Bytes, BytesMut};

use crate::acl::Acl;
use crate::frame;
use crate::header::RequestHeader;
use crate::ids::Zxid;
use crate::jute::{DecodeError, Reader, Record, Writer};
use crate::multi;
use crate::opcode::OpCode;

/// A request without its header. Nothing is checked but that the record is whole: paths, flags, modes and permissions
/// are as the client sent them. `version` -1 matches any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// create, and create2 when `with_stat`. `flags` are for [`CreateMode::from_flags`](crate::CreateMode::from_flags).
    Create {
        path: String,
        data: Option<Bytes>,
        acl: Vec<Acl>,
        flags: i32,
        with_stat: bool,
    },
    /// A container whatever `flags` say; they may still make it sequential. Answered with a stat, as is `CreateTtl`.
    CreateContainer {
        path: String,
        data: Option<Bytes>,
        acl: Vec<Acl>,
        flags: i32,
    },
    CreateTtl {
        path: String,
        data: Option<Bytes>,
        acl: Vec<Acl>,
        flags: i32,
        ttl_ms: i64,
    },
    Delete {
        path: String,
        version: i32,
    },
    Exists {
        path: String,
        watch: bool,
    },
    GetData {
        path: String,
        watch: bool,
    },
    SetData {
        path: String,
        data: Option<Bytes>,
        version: i32,
    },
    GetAcl {
        path: String,
    },
    /// `version` is compared with the node's aversion.
    SetAcl {
        path: String,
        acl: Vec<Acl>,
        version: i32,
    },
    /// getChildren, and getChildren2 when `with_stat`.
    GetChildren {
        path: String,
        watch: bool,
        with_stat: bool,
    },
    /// How many nodes there are below, at any depth.
    GetAllChildrenNumber {
        path: String,
    },
    /// The session's own, with paths that begin with the prefix.
    GetEphemerals {
        prefix: Option<String>,
    },
    Sync {
        path: String,
    },
    Check {
        path: String,
        version: i32,
    },
    /// All or nothing. Only `Create`, `CreateContainer`, `CreateTtl`, `Delete`, `SetData` and `Check` are in it.
    Multi {
        ops: Vec<Request>,
    },
    /// Each for itself. Only `GetChildren` without stat and `GetData` are in it.
    MultiRead {
        ops: Vec<Request>,
    },
    Reconfig {
        joining: Option<String>,
        leaving: Option<String>,
        new_members: Option<String>,
        config_id: i64,
    },
    Ping,
    Close,
    Auth {
        scheme: String,
        auth: Bytes,
    },
    Sasl {
        token: Option<Bytes>,
    },
    WhoAmI,
    /// Arms the watches of an earlier connection again, telling what happened since `relative_zxid`.
    SetWatches {
        relative_zxid: Zxid,
        data: Vec<String>,
        exist: Vec<String>,
        child: Vec<String>,
    },
    SetWatches2 {
        relative_zxid: Zxid,
        data: Vec<String>,
        exist: Vec<String>,
        child: Vec<String>,
        persistent: Vec<String>,
        persistent_recursive: Vec<String>,
    },
    /// `mode` 0 is persistent, 1 persistent and recursive.
    AddWatch {
        path: String,
        mode: i32,
    },
    /// `kind` is a WatcherType: 1 children, 2 data, 3 any, 4 persistent, 5 persistent and recursive.
    CheckWatches {
        path: String,
        kind: i32,
    },
    /// As `CheckWatches`.
    RemoveWatches {
        path: String,
        kind: i32,
    },
}

impl Request {
    /// Reads what follows a [`RequestHeader`] whose type is `op`. Bytes behind the record are ignored.
    ///
    /// # Errors
    /// [`DecodeError`], to be answered with MarshallingError, if `body` does not begin with the record of `op`.
    pub fn decode(op: OpCode, body: Bytes) -> Result<Self, DecodeError> {
        Self::read(op, &mut Reader::new(body))
    }

    /// Appends the request as a frame, header included.
    pub fn encode(&self, xid: i32, out: &mut BytesMut) {
        frame::write(out, |to| {
            RequestHeader { xid, op: self.op().number() }.write(to);
            self.write(to);
        });
    }

    /// The opcode this request travels under.
    pub fn op(&self) -> OpCode {
        match self {
            Self::Create { with_stat: false, .. } => OpCode::Create,
            Self::Create { with_stat: true, .. } => OpCode::Create2,
            Self::CreateContainer { .. } => OpCode::CreateContainer,
            Self::CreateTtl { .. } => OpCode::CreateTtl,
            Self::Delete { .. } => OpCode::Delete,
            Self::Exists { .. } => OpCode::Exists,
            Self::GetData { .. } => OpCode::GetData,
            Self::SetData { .. } => OpCode::SetData,
            Self::GetAcl { .. } => OpCode::GetAcl,
            Self::SetAcl { .. } => OpCode::SetAcl,
            Self::GetChildren { with_stat: false, .. } => OpCode::GetChildren,
            Self::GetChildren { with_stat: true, .. } => OpCode::GetChildren2,
            Self::GetAllChildrenNumber { .. } => OpCode::GetAllChildrenNumber,
            Self::GetEphemerals { .. } => OpCode::GetEphemerals,
            Self::Sync { .. } => OpCode::Sync,
            Self::Check { .. } => OpCode::Check,
            Self::Multi { .. } => OpCode::Multi,
            Self::MultiRead { .. } => OpCode::MultiRead,
            Self::Reconfig { .. } => OpCode::Reconfig,
            Self::Ping => OpCode::Ping,
            Self::Close => OpCode::CloseSession,
            Self::Auth { .. } => OpCode::Auth,
            Self::Sasl { .. } => OpCode::Sasl,
            Self::WhoAmI => OpCode::WhoAmI,
            Self::SetWatches { .. } => OpCode::SetWatches,
            Self::SetWatches2 { .. } => OpCode::SetWatches2,
            Self::AddWatch { .. } => OpCode::AddWatch,
            Self::CheckWatches { .. } => OpCode::CheckWatches,
            Self::RemoveWatches { .. } => OpCode::RemoveWatches,
        }
    }

    /// Reads the record of `op`.
    pub(crate) fn read(op: OpCode, from: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match op {
            OpCode::Create => read_create(from, false)?,
            OpCode::Create2 => read_create(from, true)?,
            OpCode::CreateContainer => {
                let (path, data, acl, flags) = read_node(from)?;
                Self::CreateContainer { path, data, acl, flags }
            }
            OpCode::CreateTtl => {
                let (path, data, acl, flags) = read_node(from)?;
                Self::CreateTtl { path, data, acl, flags, ttl_ms: from.long("ttl")? }
            }
            OpCode::Delete => Self::Delete { path: from.string("path")?, version: from.int("version")? },
            OpCode::Exists => Self::Exists { path: from.string("path")?, watch: from.bool("watch")? },
            OpCode::GetData => Self::GetData { path: from.string("path")?, watch: from.bool("watch")? },
            OpCode::SetData => Self::SetData {
                path: from.string("path")?,
                data: from.buffer("data")?,
                version: from.int("version")?,
            },
            OpCode::GetAcl => Self::GetAcl { path: from.string("path")? },
            OpCode::SetAcl => Self::SetAcl {
                path: from.string("path")?,
                acl: from.vec("acl")?,
                version: from.int("version")?,
            },
            OpCode::GetChildren | OpCode::GetChildren2 => Self::GetChildren {
                path: from.string("path")?,
                watch: from.bool("watch")?,
                with_stat: op == OpCode::GetChildren2,
            },
            OpCode::GetAllChildrenNumber => Self::GetAllChildrenNumber { path: from.string("path")? },
            OpCode::GetEphemerals => Self::GetEphemerals { prefix: from.nullable_string("prefixPath")? },
            OpCode::Sync => Self::Sync { path: from.string("path")? },
            OpCode::Check => Self::Check { path: from.string("path")?, version: from.int("version")? },
            OpCode::Multi => Self::Multi { ops: multi::read_ops(from, multi::WRITES)? },
            OpCode::MultiRead => Self::MultiRead { ops: multi::read_ops(from, multi::READS)? },
            OpCode::Reconfig => Self::Reconfig {
                joining: from.nullable_string("joiningServers")?,
                leaving: from.nullable_string("leavingServers")?,
                new_members: from.nullable_string("newMembers")?,
                config_id: from.long("curConfigId")?,
            },
            OpCode::Ping => Self::Ping,
            OpCode::CloseSession => Self::Close,
            OpCode::Auth => {
                // Its type has never had a meaning.
                from.int("auth type")?;
                Self::Auth { scheme: from.string("scheme")?, auth: from.buffer("auth")?.unwrap_or_default() }
            }
            OpCode::Sasl => Self::Sasl { token: from.buffer("token")? },
            OpCode::WhoAmI => Self::WhoAmI,
            OpCode::SetWatches => Self::SetWatches {
                relative_zxid: Zxid(from.long("relativeZxid")?),
                data: from.vec("dataWatches")?,
                exist: from.vec("existWatches")?,
                child: from.vec("childWatches")?,
            },
            OpCode::SetWatches2 => Self::SetWatches2 {
                relative_zxid: Zxid(from.long("relativeZxid")?),
                data: from.vec("dataWatches")?,
                exist: from.vec("existWatches")?,
                child: from.vec("childWatches")?,
                persistent: from.vec("persistentWatches")?,
                persistent_recursive: from.vec("persistentRecursiveWatches")?,
            },
            OpCode::AddWatch => Self::AddWatch { path: from.string("path")?, mode: from.int("mode")? },
            OpCode::CheckWatches => {
                Self::CheckWatches { path: from.string("path")?, kind: from.int("type")? }
            }
            OpCode::RemoveWatches => {
                Self::RemoveWatches { path: from.string("path")?, kind: from.int("type")? }
            }
        })
    }

    /// Writes the record that [`Request::read`] reads.
    pub(crate) fn write(&self, to: &mut Writer<'_>) {
        match self {
            Self::Create { path, data, acl, flags, .. }
            | Self::CreateContainer { path, data, acl, flags } => {
                write_node(to, path, data.as_deref(), acl, *flags);
            }
            Self::CreateTtl { path, data, acl, flags, ttl_ms } => {
                write_node(to, path, data.as_deref(), acl, *flags);
                to.long(*ttl_ms);
            }
            Self::Delete { path, version: number }
            | Self::Check { path, version: number }
            | Self::AddWatch { path, mode: number }
            | Self::CheckWatches { path, kind: number }
            | Self::RemoveWatches { path, kind: number } => {
                to.string(path);
                to.int(*number);
            }
            Self::Exists { path, watch }
            | Self::GetData { path, watch }
            | Self::GetChildren { path, watch, .. } => {
                to.string(path);
                to.bool(*watch);
            }
            Self::SetData { path, data, version } => {
                to.string(path);
                to.buffer(data.as_deref());
                to.int(*version);
            }
            Self::SetAcl { path, acl, version } => {
                to.string(path);
                to.vec(acl);
                to.int(*version);
            }
            Self::GetAcl { path } | Self::GetAllChildrenNumber { path } | Self::Sync { path } => {
                to.string(path)
            }
            Self::GetEphemerals { prefix } => to.nullable_string(prefix.as_deref()),
            Self::Multi { ops } | Self::MultiRead { ops } => multi::write_ops(to, ops),
            Self::Reconfig { joining, leaving, new_members, config_id } => {
                for servers in [joining, leaving, new_members] {
                    to.nullable_string(servers.as_deref());
                }
                to.long(*config_id);
            }
            Self::Ping | Self::Close | Self::WhoAmI => {}
            Self::Auth { scheme, auth } => {
                to.int(0);
                to.string(scheme);
                to.buffer(Some(auth));
            }
            Self::Sasl { token } => to.buffer(token.as_deref()),
            Self::SetWatches { relative_zxid, data, exist, child } => {
                write_watches(to, *relative_zxid, &[data, exist, child]);
            }
            Self::SetWatches2 { relative_zxid, data, exist, child, persistent, persistent_recursive } => {
                write_watches(to, *relative_zxid, &[data, exist, child, persistent, persistent_recursive]);
            }
        }
    }
}

/// The fields that every create begins with.
type Node = (String, Option<Bytes>, Vec<Acl>, i32);

fn read_node(from: &mut Reader) -> Result<Node, DecodeError> {
    Ok((from.string("path")?, from.buffer("data")?, from.vec("acl")?, from.int("flags")?))
}

fn read_create(from: &mut Reader, with_stat: bool) -> Result<Request, DecodeError> {
    let (path, data, acl, flags) = read_node(from)?;
    Ok(Request::Create { path, data, acl, flags, with_stat })
}

fn write_node(to: &mut Writer<'_>, path: &str, data: Option<&[u8]>, acl: &[Acl], flags: i32) {
    to.string(path);
    to.buffer(data);
    to.vec(acl);
    to.int(flags);
}

fn write_watches(to: &mut Writer<'_>, relative_zxid: Zxid, paths: &[&Vec<String>]) {
    to.long(relative_zxid.0);
    for paths in paths {
        to.vec(paths);
    }
}
