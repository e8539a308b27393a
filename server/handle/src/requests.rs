//! What random clients ask for, in the words of the wire and of the checker, and what they are told.

use std::sync::Arc;

use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use zke_check::event::{Answer, EventKind, NodeKind, Op, Refusal, Stat};
use zke_wire::{Acl, CreateMode, ErrorCode, MultiResult, Request, Response, Zxid};

/// Few, so that clients meet.
const PATHS: [&str; 8] = ["/a", "/a/x", "/a/y", "/b", "/b/x", "/b/x/z", "/c", "/d"];
/// Ephemerals of everybody stand together; nobody but the end of their session takes them away.
const EPHEMERALS: &str = "/e";
const QUEUE: &str = "/q";
/// Of WatcherType: whatever it is.
const ANY_WATCH: i32 = 3;

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    Everything,
    /// Reads, and on some connections `sync`.
    Looks,
}

/// One request, about data that nobody else writes: `tag` is unique.
pub fn random_op(random: &mut StdRng, tag: &str) -> Op {
    let path = any_path(random);
    let watch = random.random_bool(0.4);
    match random.random_range(0..100) {
        0..46 => random_write(random, tag),
        46..54 => random_multi(random, tag),
        54..61 => Op::Sync { path },
        61..70 => Op::Exists { path, watch },
        70..83 => Op::GetData { path, watch },
        83..93 => Op::GetChildren { path: any_parent(random), watch },
        93..96 => Op::AddWatch { path: any_parent(random), recursive: watch },
        96..97 => Op::RemoveWatches { path },
        97..98 => Op::Close {},
        _ => Op::GetChildren { path: EPHEMERALS.to_owned(), watch: true },
    }
}

/// One request of a client that only looks. It never waits behind a write, so a member that is cut off from the others
/// goes on answering it for as long as it may.
pub fn random_look(random: &mut StdRng, syncs: bool) -> Op {
    let path = any_path(random);
    if syncs && random.random_bool(0.4) {
        return Op::Sync { path };
    }
    match random.random_range(0..10) {
        0..3 => Op::Exists { path, watch: false },
        3..6 => Op::GetChildren { path: any_parent(random), watch: false },
        _ => Op::GetData { path, watch: false },
    }
}

fn any_path(random: &mut StdRng) -> String {
    (*PATHS.choose(random).expect("there are paths")).to_owned()
}

fn any_parent(random: &mut StdRng) -> String {
    let parents = ["/", "/a", "/b", "/b/x", EPHEMERALS, QUEUE];
    (*parents.choose(random).expect("there are paths")).to_owned()
}

fn random_write(random: &mut StdRng, tag: &str) -> Op {
    let data: Arc<str> = tag.into();
    let version = if random.random_bool(0.3) { random.random_range(0..3) } else { -1 };
    let path = any_path(random);
    match random.random_range(0..100) {
        0..26 => Op::Create { path, data, kind: NodeKind::Persistent, sequential: false },
        26..30 => Op::Create { path, data, kind: NodeKind::Ephemeral, sequential: false },
        30..40 => {
            let path = format!("{EPHEMERALS}/{tag}");
            Op::Create { path, data, kind: NodeKind::Ephemeral, sequential: false }
        }
        40..46 => {
            let kind = if random.random_bool(0.5) { NodeKind::Ephemeral } else { NodeKind::Persistent };
            Op::Create { path: format!("{QUEUE}/n-"), data, kind, sequential: true }
        }
        46..49 => {
            let path = (*[EPHEMERALS, QUEUE].choose(random).expect("there are two")).to_owned();
            Op::Create { path, data, kind: NodeKind::Persistent, sequential: false }
        }
        49..64 => Op::Delete { path, version },
        _ => Op::SetData { path, data, version },
    }
}

fn random_multi(random: &mut StdRng, tag: &str) -> Op {
    let parts = random.random_range(2..5);
    let mut ops: Vec<Op> = (0..parts).map(|part| random_write(random, &format!("{tag}-{part}"))).collect();
    if random.random_bool(0.3) {
        let check = Op::Check { path: any_path(random), version: random.random_range(-1..3) };
        let place = random.random_range(0..=ops.len());
        ops.insert(place, check);
    }
    Op::Multi { ops }
}

/// The same for the server.
pub fn to_wire(op: &Op) -> Request {
    match op.clone() {
        Op::Create { path, data, kind, sequential } => {
            let mode = match (kind, sequential) {
                (NodeKind::Ephemeral, true) => CreateMode::EphemeralSequential,
                (NodeKind::Ephemeral, false) => CreateMode::Ephemeral,
                (_, true) => CreateMode::PersistentSequential,
                (_, false) => CreateMode::Persistent,
            };
            let data = Some(Bytes::copy_from_slice(data.as_bytes()));
            Request::Create { path, data, acl: vec![Acl::open()], flags: mode.flags(), with_stat: true }
        }
        Op::Delete { path, version } => Request::Delete { path, version },
        Op::SetData { path, data, version } => {
            Request::SetData { path, data: Some(Bytes::copy_from_slice(data.as_bytes())), version }
        }
        Op::Check { path, version } => Request::Check { path, version },
        Op::Multi { ops } => Request::Multi { ops: ops.iter().map(to_wire).collect() },
        Op::Exists { path, watch } => Request::Exists { path, watch },
        Op::GetData { path, watch } => Request::GetData { path, watch },
        Op::GetChildren { path, watch } => Request::GetChildren { path, watch, with_stat: true },
        Op::Sync { path } => Request::Sync { path },
        Op::AddWatch { path, recursive } => Request::AddWatch { path, mode: i32::from(recursive) },
        Op::RemoveWatches { path } => Request::RemoveWatches { path, kind: ANY_WATCH },
        Op::SetWatches { relative_zxid, data, exist, child, persistent, recursive } => Request::SetWatches2 {
            relative_zxid: Zxid(relative_zxid),
            data,
            exist,
            child,
            persistent,
            persistent_recursive: recursive,
        },
        Op::Close {} => Request::Close,
    }
}

/// What a reply says, for the checker.
pub fn of_wire(response: Response) -> Result<Answer, Refusal> {
    let mut answer = Answer::default();
    match response {
        Response::Error(code) => return Err(Refusal { code: name(code), failed: None }),
        Response::Create { path } => answer.path = Some(path),
        Response::Create2 { path, stat } => (answer.path, answer.stat) = (Some(path), Some(fields(&stat))),
        Response::Stat(stat) => answer.stat = Some(fields(&stat)),
        Response::Data { data, stat } => (answer.data, answer.stat) = (text(data), Some(fields(&stat))),
        Response::Children2 { children, stat } => {
            (answer.children, answer.stat) = (Some(children), Some(fields(&stat)));
        }
        Response::Children { children } => answer.children = Some(children),
        Response::Multi { results } => answer.results = Some(of_multi(results)?),
        _ => {}
    }
    Ok(answer)
}

fn of_multi(results: Vec<MultiResult>) -> Result<Vec<Answer>, Refusal> {
    let mut answers = Vec::with_capacity(results.len());
    for (place, result) in results.into_iter().enumerate() {
        let mut answer = Answer::default();
        match result {
            MultiResult::Error(code) => return Err(Refusal { code: name(code), failed: Some(place) }),
            MultiResult::Create { path } => answer.path = Some(path),
            MultiResult::Create2 { path, stat } => {
                (answer.path, answer.stat) = (Some(path), Some(fields(&stat)));
            }
            MultiResult::SetData { stat } => answer.stat = Some(fields(&stat)),
            // Rolled back: which operation failed stands further behind.
            _ => {}
        }
        answers.push(answer);
    }
    Ok(answers)
}

fn name(code: ErrorCode) -> String {
    format!("{code:?}")
}

fn text(data: Option<Bytes>) -> Option<Arc<str>> {
    let data = data.unwrap_or_default();
    Some(String::from_utf8_lossy(&data).as_ref().into())
}

pub fn fields(stat: &zke_wire::Stat) -> Stat {
    Stat {
        czxid: stat.czxid.0,
        mzxid: stat.mzxid.0,
        pzxid: stat.pzxid.0,
        version: stat.version,
        cversion: stat.cversion,
        ephemeral_owner: stat.ephemeral_owner,
        num_children: stat.num_children,
    }
}

/// `None` for what no server sends.
pub fn kind(kind: zke_wire::EventKind) -> Option<EventKind> {
    match kind {
        zke_wire::EventKind::NodeCreated => Some(EventKind::NodeCreated),
        zke_wire::EventKind::NodeDeleted => Some(EventKind::NodeDeleted),
        zke_wire::EventKind::NodeDataChanged => Some(EventKind::NodeDataChanged),
        zke_wire::EventKind::NodeChildrenChanged => Some(EventKind::NodeChildrenChanged),
        _ => None,
    }
}
