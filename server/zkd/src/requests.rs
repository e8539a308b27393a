//! What is done about each request: sorted once, when it arrives.
//!
//! A request either goes through the log, or is answered from this member's state in its turn, or concerns the
//! connection alone. Nothing here waits, and nothing is left without an answer, but for what ZooKeeper, too, hangs up
//! on. What this server does not serve yet is answered Unimplemented and the connection goes on; what is no request of
//! a client at all ends it behind that answer.

use bytes::{Buf, Bytes};
use zke_tree::{Reconfig, WatchKind, WriteOp};
use zke_wire::{CreateMode, ErrorCode, OpCode, Request, Zxid};

/// A request on the way it takes.
#[derive(Debug)]
pub enum Action {
    /// Through the log.
    Write(WriteOp),
    /// Through the log; the last request of its session.
    Close,
    /// Answered from this member's state, after the session's earlier writes.
    Read(Read),
    /// The same, and after a read barrier.
    Sync { path: String },
    /// Answered on arrival.
    Auth { scheme: String, auth: Bytes },
    /// The same.
    Sasl { token: Bytes },
    /// Answered Unimplemented in its turn; then the connection ends.
    Foreign,
}

/// What is answered from this member's state.
#[derive(Debug)]
pub enum Read {
    Ping,
    Exists {
        path: String,
        watch: bool,
    },
    GetData {
        path: String,
        watch: bool,
    },
    GetAcl {
        path: String,
    },
    GetChildren {
        path: String,
        watch: bool,
        with_stat: bool,
    },
    GetAllChildrenNumber {
        path: String,
    },
    GetEphemerals {
        prefix: Option<String>,
    },
    Sync {
        path: String,
    },
    SetWatches {
        relative_zxid: Zxid,
        data: Vec<String>,
        exist: Vec<String>,
        child: Vec<String>,
        persistent: Vec<String>,
        recursive: Vec<String>,
    },
    AddWatch {
        path: String,
        recursive: bool,
    },
    CheckWatches {
        path: String,
        kind: WatchKind,
    },
    RemoveWatches {
        path: String,
        kind: WatchKind,
    },
    WhoAmI,
    /// The end of a session that the log knows nothing of.
    Close,
    MultiRead {
        ops: Vec<ReadOp>,
    },
    /// An answer that is known already and only waits for its turn.
    Refused(ErrorCode),
}

impl Read {
    /// In the four letters by which ZooKeeper names it in `cons`.
    pub fn operation(&self) -> &'static str {
        match self {
            Self::Ping => "PING",
            Self::Exists { .. } => "EXIS",
            Self::GetData { .. } => "GETD",
            Self::GetAcl { .. } => "GETA",
            Self::GetChildren { .. } => "GETC",
            Self::GetAllChildrenNumber { .. } => "GETACN",
            Self::GetEphemerals { .. } => "GETE",
            Self::Sync { .. } => "SYNC",
            Self::SetWatches { persistent, recursive, .. }
                if persistent.is_empty() && recursive.is_empty() =>
            {
                "SETW"
            }
            Self::SetWatches { .. } => "STW2",
            Self::AddWatch { .. } => "ADDW",
            Self::CheckWatches { .. } => "CHKW",
            Self::RemoveWatches { .. } => "REMW",
            Self::WhoAmI => "HOMI",
            Self::Close => "CLOS",
            Self::MultiRead { .. } => "MLTR",
            Self::Refused(_) => "NA",
        }
    }
}

/// One read of several in a request. It arms no watch, whatever the client says: as ZooKeeper.
#[derive(Debug, PartialEq, Eq)]
pub enum ReadOp {
    GetData { path: String },
    GetChildren { path: String },
}

/// Why there is no answer: the connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Without a xid there is nothing to answer.
    #[error("cannot read a request: its frame ends within the header")]
    NoHeader,
    /// As ZooKeeper: whoever sends such credentials is not spoken to.
    #[error("cannot read a request to authenticate: its frame ends too early, or its token is null")]
    Credentials,
}

/// Splits a frame into its xid and what to do about it.
///
/// # Errors
/// [`Unreadable`]. Any other body that cannot be decoded is answered MarshallingError.
pub fn decode(mut frame: Bytes) -> Result<(i32, Action), Unreadable> {
    let xid = frame.try_get_i32().map_err(|_| Unreadable::NoHeader)?;
    let op = frame.try_get_i32().map_err(|_| Unreadable::NoHeader)?;
    let Some(op) = OpCode::from_i32(op).filter(|op| *op != OpCode::Check) else {
        return Ok((xid, Action::Foreign));
    };
    let action = match Request::decode(op, frame) {
        Ok(Request::Sasl { token: None }) => return Err(Unreadable::Credentials),
        Ok(request) => sort(request),
        Err(_) if matches!(op, OpCode::Auth | OpCode::Sasl) => return Err(Unreadable::Credentials),
        Err(_) => Action::Read(Read::Refused(ErrorCode::MarshallingError)),
    };
    Ok((xid, action))
}

fn sort(request: Request) -> Action {
    Action::Read(match request {
        Request::Create { path, data, acl, flags, with_stat } => {
            return Action::Write(WriteOp::Create { path, data, acl, flags, with_stat });
        }
        Request::CreateContainer { path, data, acl, flags } => {
            return Action::Write(WriteOp::CreateContainer { path, data, acl, flags });
        }
        Request::CreateTtl { path, data, acl, flags, ttl_ms } => {
            return Action::Write(WriteOp::CreateTtl { path, data, acl, flags, ttl_ms });
        }
        Request::Delete { path, version } => return Action::Write(WriteOp::Delete { path, version }),
        Request::SetData { path, data, version } => {
            return Action::Write(WriteOp::SetData { path, data, version });
        }
        Request::SetAcl { path, acl, version } => {
            return Action::Write(WriteOp::SetAcl { path, acl, version });
        }
        Request::Multi { ops } => match ops.into_iter().map(part_of_multi).collect() {
            Some(ops) => return Action::Write(WriteOp::Multi { ops }),
            None => Read::Refused(ErrorCode::MarshallingError),
        },
        Request::Close => return Action::Close,
        Request::Sync { path } => return Action::Sync { path },
        Request::Auth { scheme, auth } => return Action::Auth { scheme, auth },
        Request::Sasl { token } => return Action::Sasl { token: token.unwrap_or_default() },
        Request::Check { .. } => return Action::Foreign,
        Request::Ping => Read::Ping,
        Request::Exists { path, watch } => Read::Exists { path, watch },
        Request::GetData { path, watch } => Read::GetData { path, watch },
        Request::GetAcl { path } => Read::GetAcl { path },
        Request::GetChildren { path, watch, with_stat } => Read::GetChildren { path, watch, with_stat },
        Request::SetWatches { relative_zxid, data, exist, child } => {
            let (persistent, recursive) = (Vec::new(), Vec::new());
            Read::SetWatches { relative_zxid, data, exist, child, persistent, recursive }
        }
        Request::SetWatches2 { relative_zxid, data, exist, child, persistent, persistent_recursive } => {
            let recursive = persistent_recursive;
            Read::SetWatches { relative_zxid, data, exist, child, persistent, recursive }
        }
        Request::AddWatch { path, mode: mode @ (0 | 1) } => Read::AddWatch { path, recursive: mode == 1 },
        // To ZooKeeper, too, numbers that it has no mode or kind for are bytes that it cannot read.
        Request::AddWatch { .. } => Read::Refused(ErrorCode::MarshallingError),
        Request::CheckWatches { path, kind } => match WatchKind::from_i32(kind) {
            Some(kind) => Read::CheckWatches { path, kind },
            None => Read::Refused(ErrorCode::MarshallingError),
        },
        Request::RemoveWatches { path, kind } => match WatchKind::from_i32(kind) {
            Some(kind) => Read::RemoveWatches { path, kind },
            None => Read::Refused(ErrorCode::MarshallingError),
        },
        Request::GetAllChildrenNumber { path } => Read::GetAllChildrenNumber { path },
        Request::GetEphemerals { prefix } => Read::GetEphemerals { prefix },
        Request::WhoAmI => Read::WhoAmI,
        Request::MultiRead { ops } => match ops.into_iter().map(part_of_multi_read).collect() {
            Some(ops) => Read::MultiRead { ops },
            None => Read::Refused(ErrorCode::MarshallingError),
        },
        Request::Reconfig { joining, leaving, new_members, config_id } => {
            return Action::Write(WriteOp::Reconfig(Reconfig { joining, leaving, new_members, config_id }));
        }
    })
}

/// `None` for what cannot be in one, and is refused when it is decoded.
fn part_of_multi(request: Request) -> Option<WriteOp> {
    match request {
        // On its own it is refused.
        Request::Check { path, version } => Some(WriteOp::Check { path, version }),
        Request::Create { .. } | Request::CreateContainer { .. } | Request::CreateTtl { .. } => {
            create_in_multi(request)
        }
        other => match sort(other) {
            Action::Write(WriteOp::Reconfig(_)) => None,
            Action::Write(op) => Some(op),
            _ => None,
        },
    }
}

/// In a multi ZooKeeper goes by the flags rather than by the operation, and cannot read flags that only a node with a
/// time to live could have (`MultiOperationRecord.deserialize`, `Op.create`).
fn create_in_multi(request: Request) -> Option<WriteOp> {
    match request {
        Request::Create { path, data, acl, flags, with_stat } => match CreateMode::from_flags(flags).ok()? {
            mode if mode.is_ttl() => None,
            CreateMode::Container => Some(WriteOp::CreateContainer { path, data, acl, flags }),
            _ => Some(WriteOp::Create { path, data, acl, flags, with_stat }),
        },
        Request::CreateContainer { path, data, acl, flags } => {
            CreateMode::from_flags(flags).ok().filter(|mode| !mode.is_ttl())?;
            Some(WriteOp::CreateContainer { path, data, acl, flags })
        }
        Request::CreateTtl { path, data, acl, flags, ttl_ms } => Some(match CreateMode::from_flags(flags) {
            Ok(mode) if mode.is_ttl() => WriteOp::CreateTtl { path, data, acl, flags, ttl_ms },
            Ok(CreateMode::Container) => WriteOp::CreateContainer { path, data, acl, flags },
            // Flags of no mode are readable here, and refused as those of a create.
            _ => WriteOp::Create { path, data, acl, flags, with_stat: false },
        }),
        _ => None,
    }
}

/// Likewise.
fn part_of_multi_read(request: Request) -> Option<ReadOp> {
    match request {
        Request::GetData { path, .. } => Some(ReadOp::GetData { path }),
        Request::GetChildren { path, .. } => Some(ReadOp::GetChildren { path }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut, BytesMut};

    use super::*;

    fn frame(xid: i32, op: i32, body: &[u8]) -> Bytes {
        let mut frame = BytesMut::new();
        frame.put_i32(xid);
        frame.put_i32(op);
        frame.put_slice(body);
        frame.freeze()
    }

    #[test]
    fn what_is_no_request_of_a_client_is_foreign() {
        for op in [0, -1, -10, 13, 20, 999] {
            // A path and a version, so that what is known decodes.
            let body = [0, 0, 0, 1, b'/', 255, 255, 255, 255];
            let (xid, action) = decode(frame(7, op, &body)).unwrap();
            assert_eq!(xid, 7);
            assert!(matches!(action, Action::Foreign), "{op}: {action:?}");
        }
    }

    #[test]
    fn a_multi_is_one_write() {
        let path = || "/a".to_owned();
        let check = Request::Check { path: path(), version: 1 };
        let container = Request::CreateContainer { path: path(), data: None, acl: vec![], flags: 4 };
        let sorted = sort(Request::Multi { ops: vec![check, container] });
        let Action::Write(WriteOp::Multi { ops }) = sorted else { panic!("{sorted:?}") };
        let expected = [
            WriteOp::Check { path: path(), version: 1 },
            WriteOp::CreateContainer { path: path(), data: None, acl: vec![], flags: 4 },
        ];
        assert_eq!(ops, expected);
    }

    #[test]
    fn in_a_multi_the_flags_say_what_is_created() {
        let path = || "/a".to_owned();
        let create =
            |flags| Request::Create { path: path(), data: None, acl: vec![], flags, with_stat: false };
        let container = |flags| Request::CreateContainer { path: path(), data: None, acl: vec![], flags };
        let ttl = |flags| Request::CreateTtl { path: path(), data: None, acl: vec![], flags, ttl_ms: 1 };
        let written = |request| match sort(Request::Multi { ops: vec![request] }) {
            Action::Write(WriteOp::Multi { mut ops }) => ops.pop(),
            Action::Read(Read::Refused(ErrorCode::MarshallingError)) => None,
            other => panic!("{other:?}"),
        };
        for flags in [-1, 5, 6, 7] {
            assert_eq!((written(create(flags)), written(container(flags))), (None, None), "{flags}");
        }
        for flags in [0, 2] {
            assert!(matches!(written(container(flags)), Some(WriteOp::CreateContainer { .. })), "{flags}");
        }
        for request in [create(4), ttl(4)] {
            assert!(matches!(written(request), Some(WriteOp::CreateContainer { flags: 4, .. })));
        }
        for flags in [0, 1, 7] {
            assert!(matches!(written(ttl(flags)), Some(WriteOp::Create { with_stat: false, .. })), "{flags}");
        }
        assert!(matches!(written(ttl(6)), Some(WriteOp::CreateTtl { flags: 6, ttl_ms: 1, .. })));
    }

    #[test]
    fn a_body_cut_short_is_a_marshalling_error() {
        let (xid, action) = decode(frame(9, 4, &[0, 0, 0, 9, b'/'])).unwrap();
        assert_eq!(xid, 9);
        assert!(matches!(action, Action::Read(Read::Refused(ErrorCode::MarshallingError))));
    }

    #[test]
    fn a_frame_without_a_header_has_no_answer() {
        assert_eq!(decode(Bytes::from_static(&[0, 0, 0, 1, 0, 0])).unwrap_err(), Unreadable::NoHeader);
    }

    #[test]
    fn credentials_that_cannot_be_read_have_no_answer() {
        let null_token = frame(1, 102, &[255; 4]);
        for request in [frame(1, 100, &[0; 5]), frame(1, 102, &[]), null_token] {
            assert_eq!(decode(request).unwrap_err(), Unreadable::Credentials);
        }
    }
}
