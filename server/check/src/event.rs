//! The lines of a history: one JSON object each, in the words of ZooKeeper's API.
//!
//! A process is a client handle: it has one session at a time, and one connection at a time under it. Its lines stand
//! in the order in which it saw things happen: replies and watch events in the order of the bytes on its connection.
//! All times are microseconds of one clock that all processes share (CLOCK_MONOTONIC on one machine, or a simulation's).
//! A reply's time must not be before the reply came, an invocation's not after the request left: then what one finished
//! before another began is judged so, and nothing else is.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase", deny_unknown_fields)]
pub enum Event {
    /// A request is about to be sent.
    Invoke {
        at_us: u64,
        process: String,
        /// Unique within the process.
        id: u64,
        /// 0 if the client has none yet.
        #[serde(default)]
        session: i64,
        op: Op,
    },
    /// What came of it. An invocation without one has an unknown outcome, too.
    Return {
        at_us: u64,
        process: String,
        id: u64,
        /// Of the reply's header. Without it much less can be checked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        zxid: Option<i64>,
        // Exactly one of these three; flattening an enum would let misspelt fields pass.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ok: Option<Answer>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<Refusal>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unknown: Option<String>,
    },
    /// A watch event, as it was received.
    Watch {
        at_us: u64,
        process: String,
        #[serde(default)]
        session: i64,
        kind: EventKind,
        path: String,
        /// Of the notification's header; absent or not above 0 for older servers and for what setWatches finds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        zxid: Option<i64>,
    },
    /// Something happened to a process's connection or session.
    Session {
        at_us: u64,
        process: String,
        session: i64,
        state: SessionState,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        member: Option<String>,
        /// As negotiated; with `connected`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_ms: Option<u64>,
    },
    /// The harness begins or ends to break something.
    Fault { at_us: u64, name: String, phase: Phase },
    /// What one member says of its own state.
    Member {
        at_us: u64,
        member: String,
        zxid: i64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        index: Option<u64>,
        digest: String,
    },
    /// One znode of the final dump; these lines stand before `dump`.
    Node { path: String, data: Data, stat: Stat },
    /// The final dump is complete: all nodes at and below `roots`, read when nothing was written any more.
    Dump { at_us: u64, zxid: i64, roots: Vec<String>, nodes: usize },
}

/// The bytes of a node as text, or a hash of them: they are only compared. `None` in a result was not recorded.
pub type Data = Option<Arc<str>>;

/// How an operation ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Ok(Answer),
    /// ZooKeeper's name of the code, as `NoNode`. It says for certain that the operation did nothing.
    Error(Refusal),
    /// It may have been done, may be done later, or never; the text says why nobody knows.
    Unknown(String),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    pub code: String,
    /// Of a multi: which of its operations failed, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<usize>,
}

/// What a reply held; what its operation does not answer, or the client does not show, is absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Of create: the path as it came to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Data,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stat: Option<Stat>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub children: Option<Vec<String>>,
    /// Of multi: one for each operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results: Option<Vec<Answer>>,
}

/// The fields of ZooKeeper's Stat that say something about order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Stat {
    pub czxid: i64,
    pub mzxid: i64,
    pub pzxid: i64,
    pub version: i32,
    pub cversion: i32,
    pub ephemeral_owner: i64,
    pub num_children: i32,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Op {
    Create {
        path: String,
        #[serde(default)]
        data: Arc<str>,
        #[serde(default)]
        kind: NodeKind,
        #[serde(default)]
        sequential: bool,
    },
    Delete {
        path: String,
        #[serde(default = "any_version")]
        version: i32,
    },
    SetData {
        path: String,
        #[serde(default)]
        data: Arc<str>,
        #[serde(default = "any_version")]
        version: i32,
    },
    /// Within a multi.
    Check {
        path: String,
        version: i32,
    },
    Multi {
        ops: Vec<Op>,
    },
    Exists {
        path: String,
        #[serde(default)]
        watch: bool,
    },
    GetData {
        path: String,
        #[serde(default)]
        watch: bool,
    },
    GetChildren {
        path: String,
        #[serde(default)]
        watch: bool,
    },
    Sync {
        path: String,
    },
    AddWatch {
        path: String,
        #[serde(default)]
        recursive: bool,
    },
    /// All of this client's watches of the path, of every kind.
    RemoveWatches {
        path: String,
    },
    /// What a client sends by itself after it connected again.
    SetWatches {
        relative_zxid: i64,
        #[serde(default)]
        data: Vec<String>,
        #[serde(default)]
        exist: Vec<String>,
        #[serde(default)]
        child: Vec<String>,
        #[serde(default)]
        persistent: Vec<String>,
        #[serde(default)]
        recursive: Vec<String>,
    },
    /// The session's end, asked for by its client.
    Close {},
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NodeKind {
    #[default]
    Persistent,
    Ephemeral,
    /// The server deletes it by itself, sooner or later, while it has no children.
    Container,
    /// Likewise.
    Ttl,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum EventKind {
    NodeCreated,
    NodeDeleted,
    NodeDataChanged,
    NodeChildrenChanged,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SessionState {
    /// A connection begins: a new session's first or an old one's next. No watch is armed on it yet.
    Connected,
    /// The connection is gone, and the watches with it; the session may live.
    Suspended,
    /// The client was told that the session is over.
    Expired,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    Begin,
    End,
}

fn any_version() -> i32 {
    -1
}

impl Op {
    /// The parts of a multi, or the operation itself.
    pub(crate) fn parts(&self) -> &[Op] {
        match self {
            Op::Multi { ops } => ops,
            op => std::slice::from_ref(op),
        }
    }

    /// Whether it takes a place among the writes.
    pub(crate) fn is_write(&self) -> bool {
        use Op::{Check, Close, Create, Delete, Multi, SetData};
        matches!(
            self,
            Create { .. } | Delete { .. } | SetData { .. } | Check { .. } | Multi { .. } | Close {}
        )
    }

    pub(crate) fn is_read(&self) -> bool {
        matches!(self, Op::Exists { .. } | Op::GetData { .. } | Op::GetChildren { .. })
    }
}

/// The parent of a path; `None` for the root.
pub(crate) fn parent(path: &str) -> Option<&str> {
    match path.rsplit_once('/')? {
        ("", "") => None,
        ("", _) => Some("/"),
        (parent, _) => Some(parent),
    }
}

/// The path of a child.
pub(crate) fn child(parent: &str, name: &str) -> String {
    if parent == "/" { format!("/{name}") } else { format!("{parent}/{name}") }
}
