//! What the log asks the state machine to do.

use bytes::Bytes;
use zke_wire::{Acl, ErrorCode, Id, SessionId, Zxid};

use crate::configuration::Reconfig;
use crate::ids::MemberId;

/// One step of the state machine. It carries everything that its outcome depends on besides the replicated state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A client's write. It consumes a zxid also when it fails.
    Client {
        session: SessionId,
        /// Of the connection that sent it; a session that was attached again since refuses it.
        attach_epoch: u32,
        /// Of that connection, the scheme `super` included.
        identities: Vec<Id>,
        op: WriteOp,
    },
    /// Begins a session; consumes a zxid. The id must be new, and neither 0 nor `i64::MIN`: else `BadArguments`.
    CreateSession { session: SessionId, password: [u8; 16], timeout_ms: i32 },
    /// Takes a session over for a new connection, with a new timeout; the connection before it can write no more.
    /// `SessionExpired` for a session that is gone and for a wrong password. Consumes no zxid.
    AttachSession { session: SessionId, password: [u8; 16], timeout_ms: i32 },
    /// Ends a session and removes its ephemerals, all at one zxid. It does nothing (`SessionMoved`) if the session was
    /// attached again since the one who asks looked.
    CloseSession { session: SessionId, attach_epoch: u32 },
    /// Removes a container or a TTL node that is due to go; consumes a zxid. Looked at again when it is applied:
    /// `NotEmpty` or `BadVersion` if it came to be used meanwhile. ZooKeeper's deleteContainer; no client may ask.
    DeleteContainer { path: String },
    /// The leader refused the write that had this place in its origin's order; consumes a zxid, as a failed write does.
    Refused { code: ErrorCode },
    /// Whether members let clients in. `BadVersion` unless `control_epoch` is the current one.
    SetServing { control_epoch: u64, serving: bool },
    /// Gives a new operator the next control epoch, from which on the epochs before it are refused.
    TakeControl {},
    /// Records an id as never to be used again. `BadVersion` unless `control_epoch` is the current one.
    RetireMember { control_epoch: u64, member: MemberId },
    /// Writes the servers of the ensemble where clients read them; consumes a zxid, which is their version. `BadVersion`
    /// unless `expect` is the version that stands there, or 0 and none does; `BadArguments` for lines of no ensemble.
    Configure { expect: Zxid, servers: String },
    /// Drops what is remembered of a member's earlier incarnations. Commands of theirs are skipped from then on.
    ForgetMarks { member: MemberId, below_incarnation: u64 },
    /// Raises the zxid's epoch to `to` at least; up to [`RAISE_EPOCH_MAX`], else `BadArguments`.
    RaiseEpoch { to: u32 },
    /// Gives apply the behaviour of the next level from the next command on. `BadVersion` unless `to` is the next one. To be
    /// proposed only once every member has it, and to be applied only by a program that does.
    RaiseApplyLevel { to: u32 },
}

impl Command {
    /// About how many bytes the command takes in the log, for whoever cuts batches; not exact.
    pub fn size_hint(&self) -> usize {
        /// Ids, numbers and lengths of the largest command.
        const FIXED_BYTES: usize = 64;
        match self {
            Command::DeleteContainer { path } => FIXED_BYTES + path.len(),
            Command::Configure { servers, .. } => FIXED_BYTES + servers.len(),
            Command::Client { identities, op, .. } => {
                FIXED_BYTES + identities.iter().map(id_bytes).sum::<usize>() + op.size_hint()
            }
            _ => FIXED_BYTES,
        }
    }
}

/// The highest epoch that [`Command::RaiseEpoch`] sets. It leaves a billion elections before a zxid would turn
/// negative, which no client could follow.
pub const RAISE_EPOCH_MAX: u32 = 1 << 30;

/// A client's write, as it was asked for: the outcome is found when it is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteOp {
    Create {
        path: String,
        data: Option<Bytes>,
        acl: Vec<Acl>,
        /// Of the request: see [`zke_wire::CreateMode`].
        flags: i32,
        /// Whether the client asked for the new node's stat (create2). It changes only what the client is told.
        with_stat: bool,
    },
    /// A node that goes some time after its last child went. Answered with a stat, as is `CreateTtl`.
    CreateContainer {
        path: String,
        data: Option<Bytes>,
        acl: Vec<Acl>,
        /// Of the request; whether they say sequential matters, and those with a TTL are `BadArguments`.
        flags: i32,
    },
    /// A node that goes when it has no children and was not written to for `ttl_ms`.
    CreateTtl {
        path: String,
        data: Option<Bytes>,
        acl: Vec<Acl>,
        /// Of the request: those of the two modes with a TTL, else `BadArguments`.
        flags: i32,
        /// 1 to 2^40 - 1, else `BadArguments`.
        ttl_ms: i64,
    },
    Delete {
        path: String,
        /// The version the node must have, -1 for any; likewise below.
        version: i32,
    },
    SetData {
        path: String,
        data: Option<Bytes>,
        version: i32,
    },
    SetAcl {
        path: String,
        acl: Vec<Acl>,
        version: i32,
    },
    /// Whether the node is there and has the version; changes nothing. Clients may ask for it in a multi only.
    Check {
        path: String,
        version: i32,
    },
    /// Another ensemble. Never in a multi.
    Reconfig(Reconfig),
    /// All of them or none, at one zxid, each seeing what those before it did. A `SetAcl` among them is refused with
    /// `BadArguments`, since no client can ask for it. A `Multi` among them is a mistake of the caller: it cannot be
    /// decoded again.
    Multi {
        ops: Vec<WriteOp>,
    },
}

impl WriteOp {
    fn size_hint(&self) -> usize {
        /// Tag, version or flags, and lengths.
        const FIXED_BYTES: usize = 16;
        let acl_bytes = |acl: &[Acl]| acl.iter().map(|acl| id_bytes(&acl.id) + 4).sum::<usize>();
        let data_bytes = |data: &Option<Bytes>| data.as_ref().map_or(0, Bytes::len);
        let fields = match self {
            Self::Create { path, data, acl, .. }
            | Self::CreateContainer { path, data, acl, .. }
            | Self::CreateTtl { path, data, acl, .. } => path.len() + data_bytes(data) + acl_bytes(acl),
            Self::Delete { path, .. } | Self::Check { path, .. } => path.len(),
            Self::SetData { path, data, .. } => path.len() + data_bytes(data),
            Self::SetAcl { path, acl, .. } => path.len() + acl_bytes(acl),
            Self::Reconfig(Reconfig { joining, leaving, new_members, .. }) => {
                [joining, leaving, new_members].into_iter().flatten().map(String::len).sum()
            }
            Self::Multi { ops } => ops.iter().map(Self::size_hint).sum(),
        };
        FIXED_BYTES + fields
    }
}

fn id_bytes(id: &Id) -> usize {
    id.scheme.len() + id.id.len() + 8
}
