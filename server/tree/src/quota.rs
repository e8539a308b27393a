//! Quotas: how much a subtree may hold, and how much it does.
//!
//! ZooKeeper's own nodes say so: `/zookeeper/quota<path>/zookeeper_limits` is written by whoever sets a quota, and
//! `zookeeper_stats` beside it holds the usage, kept here without a version, a zxid or a watch. Both are ordinary nodes,
//! so quotas are replicated, travel in snapshots and are taken back with a multi like all else. A limit counts only
//! where both are. Only the quota nearest to a node applies to it, and none to what is below `/zookeeper`.
//!
//! Better than ZooKeeper, which looks at what was applied: the operations of one multi see each other's usage.

use std::fmt;

use crate::tree::{Place, Tree};

const ROOT: &str = "/zookeeper/quota";
const LIMITS: &str = "zookeeper_limits";
const STATS: &str = "zookeeper_stats";

/// The nodes and the bytes of data of a subtree, its root included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Usage {
    count: i64,
    bytes: i64,
}

impl Usage {
    fn of(tree: &Tree, root: Place) -> Self {
        let mut usage = Usage { count: 1, bytes: tree.node(root).data_len() as i64 };
        let mut waiting = vec![root.slot];
        while let Some(parent) = waiting.pop() {
            for child in tree.children(parent) {
                usage = usage.plus(Usage { count: 1, bytes: tree.nodes[child].data_len() as i64 });
                waiting.push(child);
            }
        }
        usage
    }

    /// What a node more with this data adds.
    pub fn of_created(data: Option<&[u8]>) -> Self {
        Usage { count: 1, bytes: len(data) }
    }

    /// What a node less takes away.
    pub fn of_removed(data_len: usize) -> Self {
        Usage { count: -1, bytes: -(data_len as i64) }
    }

    /// What other data changes.
    pub fn of_written(before_len: usize, data: Option<&[u8]>) -> Self {
        Usage { count: 0, bytes: len(data) - before_len as i64 }
    }

    fn plus(self, other: Self) -> Self {
        Usage { count: self.count.saturating_add(other.count), bytes: self.bytes.saturating_add(other.bytes) }
    }
}

fn len(data: Option<&[u8]>) -> i64 {
    data.map_or(0, <[u8]>::len) as i64
}

/// As ZooKeeper writes it into a stats node.
impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "count={},bytes={}", self.count, self.bytes)
    }
}

/// What a limits node says; `None` is without limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Limits {
    count: Option<i64>,
    bytes: Option<i64>,
    count_hard: Option<i64>,
    bytes_hard: Option<i64>,
}

impl Limits {
    fn parse(data: &[u8]) -> Self {
        let mut limits = Limits::default();
        for (key, number) in numbers(data) {
            let limit = Some(number).filter(|number| *number >= 0);
            match key {
                "count" => limits.count = limit,
                "bytes" => limits.bytes = limit,
                "countHardLimit" => limits.count_hard = limit,
                "byteHardLimit" => limits.bytes_hard = limit,
                _ => {}
            }
        }
        limits
    }
}

/// The `key=number` pairs of a text such as `count=3,bytes=-1=;byteHardLimit=9;countHardLimit=-1`; the odd `=` keeps
/// the rest from ZooKeeper's older versions. What is no such pair is passed over.
fn numbers(data: &[u8]) -> impl Iterator<Item = (&str, i64)> {
    let text = str::from_utf8(data).unwrap_or_default();
    text.split([',', ';']).filter_map(|pair| {
        let (key, number) = pair.split_once('=')?;
        Some((key.trim(), number.trim_end_matches('=').trim().parse().ok()?))
    })
}

/// A limit that a write went over, or would have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverQuota {
    /// The subtree that the quota is of.
    pub path: String,
    pub measure: Measure,
    /// With that write.
    pub usage: i64,
    pub limit: i64,
    /// Hard and enforced: the write was refused. Else it was done, and somebody ought to hear of it.
    pub refused: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Measure {
    Count,
    Bytes,
}

/// The quota that applies to one node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quota {
    /// Below `/zookeeper/quota`.
    at: Place,
    stats: Place,
    /// Before the change that it is asked for.
    usage: Usage,
}

impl Quota {
    /// Of the node at `path`, whether that is there or not.
    pub fn of(tree: &Tree, path: &str) -> Option<Quota> {
        let mut at = tree.find(ROOT)?;
        // Hardly anybody has quotas: then this is all that a write pays for them.
        if tree.extra(at.slot).num_children == 0 || path == "/zookeeper" || path.starts_with("/zookeeper/") {
            return None;
        }
        let mut found = None;
        for name in path.strip_prefix('/')?.split('/') {
            let Some(below) = tree.child(at, name) else { break };
            at = below;
            if tree.child(at, LIMITS).is_some() {
                found = Some(at);
            }
        }
        let at = found?;
        let stats = tree.child(at, STATS)?;
        Some(Quota { at, stats, usage: usage(tree, at, stats) })
    }

    /// Where the usage is kept, to take a change back, and what it is to be after this change.
    pub fn changed(self, tree: &Tree, change: Usage) -> (Place, String, Vec<u8>) {
        let usage = self.usage.plus(change);
        (self.stats, tree.path_of(self.stats.slot), usage.to_string().into_bytes())
    }

    /// The limits that the usage is above with this change, in a measure that it raises: what shrinks is always let
    /// through.
    pub fn exceeded(self, tree: &Tree, change: Usage, enforced: bool) -> Vec<OverQuota> {
        let limits = tree.child(self.at, LIMITS).and_then(|place| tree.node(place).data());
        let limits = Limits::parse(limits.unwrap_or_default());
        let usage = self.usage.plus(change);
        let measures = [
            (Measure::Count, change.count, usage.count, limits.count, limits.count_hard),
            (Measure::Bytes, change.bytes, usage.bytes, limits.bytes, limits.bytes_hard),
        ];
        let mut exceeded = Vec::new();
        for (measure, change, usage, soft, hard) in measures {
            // As in ZooKeeper a hard limit takes the place of the soft one.
            let Some(limit) = hard.or(soft).filter(|limit| change > 0 && usage > *limit) else { continue };
            let path = tree.path_of(self.at.slot)[ROOT.len()..].to_owned();
            exceeded.push(OverQuota { path, measure, usage, limit, refused: enforced && hard.is_some() });
        }
        exceeded
    }
}

/// As the stats node has it. A text that nobody can read is counted anew.
fn usage(tree: &Tree, at: Place, stats: Place) -> Usage {
    let find = |wanted: &str| {
        let data = tree.node(stats).data().unwrap_or_default();
        numbers(data).find_map(|(key, number)| (key == wanted).then_some(number))
    };
    match (find("count"), find("bytes")) {
        (Some(count), Some(bytes)) => Usage { count, bytes },
        _ => counted(tree, at),
    }
}

/// Of what the quota at this place is of.
fn counted(tree: &Tree, at: Place) -> Usage {
    let path = tree.path_of(at.slot);
    tree.find(&path[ROOT.len()..]).map_or_else(Usage::default, |root| Usage::of(tree, root))
}

/// To be called when a node was created: if that makes a quota whole, returns where its usage is kept and what it is.
pub(crate) fn begun(tree: &Tree, path: &str) -> Option<(Place, String, Vec<u8>)> {
    let (parent, name) = path.strip_prefix(ROOT)?.rsplit_once('/')?;
    if parent.is_empty() || !matches!(name, LIMITS | STATS) {
        return None;
    }
    let at = tree.find(&format!("{ROOT}{parent}"))?;
    let stats = tree.child(at, STATS)?;
    Some((stats, tree.path_of(stats.slot), counted(tree, at).to_string().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_zookeeper_writes_them() {
        let limits = Limits::parse(b"count=5,bytes=-1");
        assert_eq!(limits, Limits { count: Some(5), ..Limits::default() });
        let limits = Limits::parse(b"count=-1,bytes=7=;byteHardLimit=20;countHardLimit=4");
        let expected = Limits { count: None, bytes: Some(7), count_hard: Some(4), bytes_hard: Some(20) };
        assert_eq!(limits, expected);
        for junk in
            [&b"hello"[..], b"", b"count=", b"count=x,=,;;", b"\xff\xfe=1", b"count=99999999999999999999"]
        {
            assert_eq!(Limits::parse(junk), Limits::default(), "{junk:?}");
        }
    }
}
