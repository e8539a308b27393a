//! What is certain about znodes: the changes that were acknowledged, in the order of their zxids, and which nodes may
//! have changed besides. Shared by the oracles that need no search.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::event::{EventKind, NodeKind, Op, SessionState, parent};
use crate::history::{History, Item, Operation};

/// Acknowledged changes, and what is unknown beside them.
#[derive(Default)]
pub(crate) struct Changes {
    /// In the order in which they happened.
    pub all: Vec<Change>,
    by_path: HashMap<String, Vec<usize>>,
    by_parent: HashMap<String, Vec<usize>>,
    /// Nodes that an operation of unknown outcome, or of unknown place, may have changed.
    open: HashSet<String>,
    /// Beginnings of the names that an open sequential create may have made.
    open_prefixes: HashSet<String>,
    /// Parents of any of these.
    open_parents: HashSet<String>,
    /// Acknowledged writes by when they were: the largest zxid, and whose, of those that had returned by then.
    acknowledged: Vec<(u64, i64, usize)>,
    /// Successful writes by zxid.
    pub writes: BTreeMap<i64, usize>,
    pub ends: HashMap<i64, End>,
    /// The smallest zxid that a write of the history may have. What was made below it need not be explained.
    pub base: i64,
}

#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub zxid: i64,
    pub path: String,
    pub what: What,
    /// Whose doing it was; of a session's end, its close.
    pub by: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// `mortal` is what may go by itself: an ephemeral, a container, a TTL node.
    Created {
        data: std::sync::Arc<str>,
        owner: i64,
        mortal: bool,
    },
    Set {
        data: std::sync::Arc<str>,
    },
    Deleted,
}

/// How a session ended, as far as anybody knows.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct End {
    /// Closed by its client, at this zxid, by this operation.
    pub closed: Option<(i64, usize)>,
    /// Its client asked for the end, or was told of it, by now.
    pub told_us: Option<u64>,
    /// Told by the server that it had expired.
    pub expired: bool,
}

impl Changes {
    pub fn of(history: &History) -> Changes {
        let mut changes = Changes { base: i64::MAX, ..Changes::default() };
        for (index, operation) in history.operations.iter().enumerate() {
            if let Some(zxid) = operation.zxid {
                // A read's is that of the last write before it.
                let first = if operation.op.is_write() { zxid } else { zxid + 1 };
                changes.base = changes.base.min(first);
            }
            if !operation.op.is_write() {
                continue;
            }
            match (operation.answer(), operation.place()) {
                (Some(_), Some(zxid)) => {
                    changes.writes.entry(zxid).or_insert(index);
                    changes.add(operation, index, zxid);
                }
                (Some(_), None) => changes.leave_open(operation),
                (None, _) if operation.is_unknown() => changes.leave_open(operation),
                (None, _) => {}
            }
        }
        changes.sessions(history);
        changes.all.sort_by_key(|change| change.zxid);
        changes.end_sessions();
        for (index, change) in changes.all.iter().enumerate() {
            changes.by_path.entry(change.path.clone()).or_default().push(index);
            if let Some(parent) = change.parent() {
                changes.by_parent.entry(parent.to_owned()).or_default().push(index);
            }
        }
        changes.acknowledge(history);
        changes
    }

    /// The changes of the node itself, in order.
    pub fn of_path(&self, path: &str) -> impl DoubleEndedIterator<Item = &Change> {
        self.by_path.get(path).into_iter().flatten().map(|&index| &self.all[index])
    }

    /// The changes of its list of children, in order.
    pub fn of_children(&self, path: &str) -> impl DoubleEndedIterator<Item = &Change> {
        self.by_parent.get(path).into_iter().flatten().map(|&index| &self.all[index])
    }

    /// The changes at one zxid.
    pub fn at(&self, zxid: i64) -> &[Change] {
        let first = self.after(zxid - 1);
        &self.all[first..self.after(zxid)]
    }

    /// The index of the first change above `zxid`.
    pub fn after(&self, zxid: i64) -> usize {
        self.all.partition_point(|change| change.zxid <= zxid)
    }

    pub fn paths(&self) -> impl Iterator<Item = &String> {
        self.by_path.keys()
    }

    /// Whether an operation may have changed this node without anybody knowing.
    pub fn is_open(&self, path: &str) -> bool {
        self.open.contains(path)
            || path
                .char_indices()
                .nth_back(9)
                .is_some_and(|(cut, _)| self.open_prefixes.contains(&path[..cut]))
    }

    /// Whether what was there at `zxid` may have gone by itself.
    pub fn is_mortal(&self, path: &str, zxid: i64) -> bool {
        let mut changes = self.of_path(path).rev().filter(|change| change.zxid <= zxid);
        let made = changes.find_map(|change| match change.what {
            What::Created { mortal, .. } => Some(mortal),
            What::Deleted => Some(false),
            What::Set { .. } => None,
        });
        made.unwrap_or(false)
    }

    /// Whether children of this node may have come or gone without anybody knowing.
    pub fn has_open_children(&self, path: &str) -> bool {
        self.open_parents.contains(path)
    }

    /// The largest zxid among the writes acknowledged before `at_us`, and which write that was.
    pub fn acknowledged_before(&self, at_us: u64) -> Option<(i64, usize)> {
        let before = self.acknowledged.partition_point(|(returned_us, ..)| *returned_us < at_us);
        before.checked_sub(1).map(|last| (self.acknowledged[last].1, self.acknowledged[last].2))
    }

    fn add(&mut self, operation: &Operation, index: usize, zxid: i64) {
        for (op, answer) in operation.answered() {
            let (path, what) = match op {
                Op::Create { path, data, kind, .. } => {
                    let path = answer.path.as_ref().unwrap_or(path);
                    let mortal = *kind != NodeKind::Persistent;
                    if mortal {
                        self.open_parents.extend(parent(path).map(str::to_owned));
                    }
                    let owner = if *kind == NodeKind::Ephemeral { operation.session } else { 0 };
                    (path, What::Created { data: data.clone(), owner, mortal })
                }
                Op::SetData { path, data, .. } => (path, What::Set { data: data.clone() }),
                Op::Delete { path, .. } => (path, What::Deleted),
                Op::Close {} => {
                    self.ends.entry(operation.session).or_default().closed = Some((zxid, index));
                    continue;
                }
                _ => continue,
            };
            self.all.push(Change { zxid, path: path.clone(), what, by: index });
        }
    }

    fn leave_open(&mut self, operation: &Operation) {
        for op in operation.op.parts() {
            match op {
                Op::Create { path, sequential: true, .. } => {
                    self.open_prefixes.insert(path.clone());
                    self.open_parents.extend(path.rsplit_once('/').map(|(parent, _)| match parent {
                        "" => "/".to_owned(),
                        parent => parent.to_owned(),
                    }));
                }
                Op::Create { path, .. } | Op::Delete { path, .. } => {
                    self.open.insert(path.clone());
                    self.open_parents.extend(parent(path).map(str::to_owned));
                }
                Op::SetData { path, .. } => {
                    self.open.insert(path.clone());
                }
                _ => {}
            }
        }
    }

    fn sessions(&mut self, history: &History) {
        for process in &history.processes {
            for item in &process.stream {
                match item {
                    Item::Session(session) if session.state == SessionState::Expired => {
                        let end = self.ends.entry(session.session).or_default();
                        end.told_us = Some(end.told_us.unwrap_or(u64::MAX).min(session.at_us));
                        end.expired = true;
                    }
                    Item::Returned(index) => {
                        let operation = &history.operations[*index];
                        if operation.op == (Op::Close {}) && operation.answer().is_some() {
                            let end = self.ends.entry(operation.session).or_default();
                            end.told_us = operation.returned_us;
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    /// A close deletes what its session owns; only what no open operation may have touched is certain.
    fn end_sessions(&mut self) {
        let mut closes: Vec<(i64, usize, i64)> = self
            .ends
            .iter()
            .filter_map(|(session, end)| end.closed.map(|(zxid, by)| (zxid, by, *session)))
            .collect();
        closes.sort_unstable();
        let mut owned: HashMap<i64, BTreeSet<String>> = HashMap::new();
        let mut owners: HashMap<String, i64> = HashMap::new();
        let mut all = Vec::with_capacity(self.all.len());
        let mut close = |until: i64,
                         owned: &mut HashMap<i64, BTreeSet<String>>,
                         owners: &mut HashMap<String, i64>,
                         all: &mut Vec<Change>| {
            while closes.first().is_some_and(|(zxid, ..)| *zxid <= until) {
                let (zxid, by, session) = closes.remove(0);
                for path in owned.remove(&session).unwrap_or_default() {
                    owners.remove(&path);
                    all.push(Change { zxid, path, what: What::Deleted, by });
                }
            }
        };
        for change in std::mem::take(&mut self.all) {
            close(change.zxid, &mut owned, &mut owners, &mut all);
            match &change.what {
                What::Created { owner, .. } if *owner != 0 && !self.is_open(&change.path) => {
                    owned.entry(*owner).or_default().insert(change.path.clone());
                    owners.insert(change.path.clone(), *owner);
                }
                What::Deleted => {
                    if let Some(owner) = owners.remove(&change.path) {
                        owned.get_mut(&owner).map(|paths| paths.remove(&change.path));
                    }
                }
                _ => {}
            }
            all.push(change);
        }
        close(i64::MAX, &mut owned, &mut owners, &mut all);
        self.all = all;
    }

    fn acknowledge(&mut self, history: &History) {
        let writes = self
            .writes
            .iter()
            .filter_map(|(zxid, &index)| Some((history.operations[index].returned_us?, *zxid, index)));
        self.acknowledged = writes.collect();
        self.acknowledged.sort_unstable();
        let mut largest = (i64::MIN, 0);
        for (_, zxid, index) in &mut self.acknowledged {
            largest = largest.max((*zxid, *index));
            (*zxid, *index) = largest;
        }
    }
}

impl Change {
    /// The event that a watcher of the node gets.
    pub fn kind(&self) -> EventKind {
        match self.what {
            What::Created { .. } => EventKind::NodeCreated,
            What::Set { .. } => EventKind::NodeDataChanged,
            What::Deleted => EventKind::NodeDeleted,
        }
    }

    /// The node whose list of children it changes.
    pub fn parent(&self) -> Option<&str> {
        match self.what {
            What::Created { .. } | What::Deleted => parent(&self.path),
            What::Set { .. } => None,
        }
    }
}

impl Operation {
    /// The zxid of a write that succeeded: from the reply's header, or from a Stat that shows it.
    pub fn place(&self) -> Option<i64> {
        self.answer()?;
        self.zxid.or_else(|| {
            self.answered().into_iter().find_map(|(op, answer)| match op {
                Op::Create { .. } | Op::SetData { .. } => answer.stat.map(|stat| stat.mzxid),
                _ => None,
            })
        })
    }

    /// Codes with which a write that was looked at, at its own zxid, is refused.
    pub fn is_refused_in_turn(&self) -> bool {
        const CODES: [&str; 5] =
            ["NoNode", "NodeExists", "BadVersion", "NotEmpty", "NoChildrenForEphemerals"];
        match &self.outcome {
            crate::event::Outcome::Error(refusal) => CODES.contains(&refusal.code.as_str()),
            _ => false,
        }
    }
}
