//! What comes out of applying a command: for the client that asked, and for those who watch.

use std::sync::Arc;

use bytes::Bytes;
use zke_wire::{Acl, ErrorCode, EventKind, SessionId, Stat, Zxid};

use crate::command::Command;
use crate::quota::OverQuota;

/// One applied command. It is handed out after its effect and before the next command's.
#[derive(Debug)]
pub struct Applied<'a> {
    /// Its number within its origin.
    pub sequence: u64,
    pub command: &'a Command,
    /// Its own zxid; for a command that consumes none, that of the last one which did.
    pub zxid: Zxid,
    pub result: Result<Reply, ErrorCode>,
    /// In the order in which a connection must see them. Empty if the command failed or was rolled back.
    pub events: &'a [Event],
    /// Limits that it went over, or would have.
    pub over_quota: &'a [OverQuota],
}

/// What a command that succeeded answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The path as it came to be, with its sequence number.
    Created {
        path: String,
        stat: Stat,
    },
    /// Of setData and setACL.
    Stat(Stat),
    Done,
    /// One for each operation, as it was when that was done.
    Multi(Vec<Reply>),
    /// Of a multi: the operation at this place, counted from 0, failed, and nothing was done.
    RolledBack {
        failed: usize,
        code: ErrorCode,
    },
    /// Of CreateSession and AttachSession.
    Session {
        session: SessionId,
        password: [u8; 16],
        timeout_ms: i32,
        attach_epoch: u32,
    },
    ControlEpoch(u64),
    /// Of Reconfig: the new text, and the stat of the node that holds it.
    Reconfigured {
        text: Bytes,
        stat: Stat,
    },
}

/// One change that watches may be waiting for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub kind: EventKind,
    pub path: Arc<str>,
    pub table: Table,
    /// A connection hears of the event only if this list lets it read ([`may_read`](crate::may_read)): the node's own,
    /// the parent's for NodeChildrenChanged, that at deletion for NodeDeleted.
    pub acl: Arc<[Acl]>,
    pub zxid: Zxid,
}

/// The watches an event triggers. A watcher in both tables hears of it once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Table {
    /// Set by exists and getData. Persistent and recursive watches hear of it too.
    Data,
    /// Set by getChildren. Persistent watches hear of it too, recursive ones do not.
    Child,
    Both,
}
