//! What each operation of a history says about znodes, as facts with a place in the order.
//!
//! An operation whose zxid and outcome are known falls apart into facts about one node each: no others need to be tried
//! with it. One of which either is open must be tried as a whole.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::model::{Fact, Node, Paths};
use crate::event::{Answer, NodeKind, Op, Outcome, SessionState, child, parent};
use crate::history::{History, Item, Operation};

/// What is to be tried at one place in the order.
#[derive(Debug)]
pub(super) struct Step {
    pub by: usize,
    pub facts: Vec<Fact>,
    /// They would have held, and are taken back: of a multi that failed.
    pub is_undone: bool,
}

/// A step at a known place: its zxid, and reads after the write of the same one.
#[derive(Debug)]
pub(super) struct Pinned {
    pub zxid: i64,
    pub is_write: bool,
    pub step: Step,
}

impl Pinned {
    /// By the groups that the nodes of its facts belong to.
    pub fn split(self, group: impl Fn(&Fact) -> Option<Node>) -> Vec<(Option<Node>, Pinned)> {
        let Pinned { zxid, is_write, step: Step { by, facts, is_undone } } = self;
        let mut parts: Vec<(Option<Node>, Pinned)> = Vec::with_capacity(1);
        for fact in facts {
            let group = group(&fact);
            match parts.iter_mut().find(|(of, _)| *of == group) {
                Some((_, part)) => part.step.facts.push(fact),
                None => {
                    let step = Step { by, facts: vec![fact], is_undone };
                    parts.push((group, Pinned { zxid, is_write, step }));
                }
            }
        }
        parts
    }
}

/// A step whose place is open.
#[derive(Debug)]
pub(super) struct Floating {
    pub step: Step,
    /// It happened; else it may never have.
    pub is_certain: bool,
    /// Before this it cannot have happened.
    pub from_us: u64,
    /// After it, it cannot have.
    pub until_us: u64,
    /// It comes after this zxid.
    pub above: i64,
}

/// All steps of a history, the pinned ones in order.
pub(super) struct Steps {
    pub pinned: Vec<Pinned>,
    pub floating: Vec<Floating>,
    pub paths: Paths,
}

impl Steps {
    pub fn of(history: &History) -> Steps {
        let mut steps = Steps { pinned: Vec::new(), floating: Vec::new(), paths: Paths::default() };
        let ephemerals = ephemerals(history);
        let mut ended = HashMap::new();
        let synced = synced(history);
        for (by, operation) in history.operations.iter().enumerate() {
            if operation.op == (Op::Close {}) {
                // A close whose answer was lost may be asked again.
                if operation.answer().is_some() || !ended.contains_key(&operation.session) {
                    ended.insert(operation.session, by);
                }
                continue;
            }
            let place = operation.place();
            match &operation.outcome {
                Outcome::Ok(_) => {
                    let facts: Vec<Fact> = operation
                        .answered()
                        .into_iter()
                        .flat_map(|(op, answer)| steps.done(operation, op, Some(answer)))
                        .collect();
                    let step = Step { by, facts, is_undone: false };
                    steps.add(operation, step, place.or(operation.zxid), synced[by]);
                }
                Outcome::Error(refusal) => {
                    let facts = steps.refused(operation, &refusal.code, refusal.failed);
                    let step = Step { by, facts, is_undone: true };
                    steps.add(operation, step, operation.zxid, synced[by]);
                }
                Outcome::Unknown(_) if operation.op.is_write() => {
                    let facts: Vec<Fact> =
                        operation.op.parts().iter().flat_map(|op| steps.done(operation, op, None)).collect();
                    steps.floating.push(Floating {
                        step: Step { by, facts, is_undone: false },
                        is_certain: false,
                        from_us: operation.invoked_us,
                        until_us: u64::MAX,
                        above: i64::MIN,
                    });
                }
                Outcome::Unknown(_) => {}
            }
        }
        steps.sessions(history, &ephemerals, &ended);
        steps.name_sequential();
        steps.floating.retain(|floating| !floating.step.facts.is_empty());
        steps.pinned.retain(|pinned| !pinned.step.facts.is_empty());
        steps.pinned.sort_by_key(|pinned| (pinned.zxid, !pinned.is_write));
        steps
    }

    fn add(&mut self, operation: &Operation, step: Step, zxid: Option<i64>, synced_us: Option<u64>) {
        let is_write = operation.op.is_write();
        if let Some(zxid) = zxid {
            let is_write = is_write && !step.is_undone;
            self.pinned.push(Pinned { zxid, is_write, step });
        } else if let Some(from_us) = synced_us.or(is_write.then_some(operation.invoked_us)) {
            // A read that may be old, and does not say how old, says nothing, and has no step.
            self.floating.push(Floating {
                step,
                is_certain: true,
                from_us,
                until_us: operation.returned_us.unwrap_or(u64::MAX),
                above: i64::MIN,
            });
        }
    }

    /// Of an operation that was done, or would be; with what it answered, if anybody knows.
    fn done(&mut self, operation: &Operation, op: &Op, answer: Option<&Answer>) -> Vec<Fact> {
        let stat = answer.and_then(|answer| answer.stat);
        match op {
            Op::Create { path, data, kind, sequential } => {
                let (data, owner) =
                    (data.clone(), if *kind == NodeKind::Ephemeral { operation.session } else { 0 });
                let made = answer.and_then(|answer| answer.path.as_deref());
                if *sequential && made.is_none() {
                    let parent = self.paths.number(parent_of_prefix(path));
                    let (prefix, seen) = (path.as_str().into(), Arc::from([]));
                    return vec![Fact::CreateSequential { parent, prefix, data, owner, seen }];
                }
                let path = made.unwrap_or(path);
                let number = if *sequential { number_of(path) } else { None };
                let node = self.paths.number(path);
                if matches!(kind, NodeKind::Container | NodeKind::Ttl) {
                    self.paths.mortal.insert(node);
                }
                let mut facts = vec![Fact::Create { node, data, owner }];
                if let Some(parent) = parent(path) {
                    let parent = self.paths.number(parent);
                    facts.push(Fact::ChildCreated { parent, child: node, number });
                }
                facts.extend(stat.map(|stat| Fact::Present { node, stat: Some(stat), data: None }));
                facts
            }
            Op::Delete { path, version } => {
                let node = self.paths.number(path);
                let mut facts = vec![Fact::Delete { node, version: *version }];
                if let Some(parent) = parent(path) {
                    facts.push(Fact::ChildDeleted { parent: self.paths.number(parent), child: node });
                }
                facts
            }
            Op::SetData { path, data, version } => {
                let node = self.paths.number(path);
                let mut facts = vec![Fact::Set { node, data: data.clone(), version: *version }];
                facts.extend(stat.map(|stat| Fact::Present { node, stat: Some(stat), data: None }));
                facts
            }
            Op::Check { path, version } => {
                vec![Fact::HasVersion { node: self.paths.number(path), version: *version }]
            }
            Op::Exists { path, .. } | Op::GetData { path, .. } | Op::GetChildren { path, .. } => {
                let Some(answer) = answer else { return Vec::new() };
                let node = self.paths.number(path);
                let mut facts = vec![Fact::Present { node, stat, data: answer.data.clone() }];
                if let (Op::GetChildren { .. }, Some(children)) = (op, &answer.children) {
                    let names = children.iter().map(|name| self.paths.number(&child(path, name)));
                    facts.push(Fact::Children { node, names: names.collect() });
                }
                facts
            }
            _ => Vec::new(),
        }
    }

    fn refused(&mut self, operation: &Operation, code: &str, failed: Option<usize>) -> Vec<Fact> {
        let Op::Multi { ops } = &operation.op else { return self.refusal(&operation.op, code) };
        // Names that were never given are not worth guessing.
        let is_sequential = |op: &Op| matches!(op, Op::Create { sequential: true, .. });
        let Some(failed) = failed.filter(|failed| *failed < ops.len()) else { return Vec::new() };
        if ops[..=failed].iter().any(is_sequential) {
            return Vec::new();
        }
        let refusal = self.refusal(&ops[failed], code);
        if refusal.is_empty() {
            return Vec::new();
        }
        let mut facts: Vec<Fact> =
            ops[..failed].iter().flat_map(|op| self.done(operation, op, None)).collect();
        facts.extend(refusal);
        facts
    }

    /// What must have been for this code to be the answer.
    fn refusal(&mut self, op: &Op, code: &str) -> Vec<Fact> {
        let fact = match (op, code) {
            (Op::Create { path, .. }, "NoNode" | "NoChildrenForEphemerals") => {
                let Some(parent) = parent(path) else { return Vec::new() };
                let node = self.paths.number(parent);
                if code == "NoNode" { Fact::Absent { node } } else { Fact::IsEphemeral { node } }
            }
            (Op::Create { path, sequential: false, .. }, "NodeExists") => {
                Fact::Present { node: self.paths.number(path), stat: None, data: None }
            }
            (
                Op::Delete { path, version }
                | Op::SetData { path, version, .. }
                | Op::Check { path, version },
                "BadVersion",
            ) => Fact::HasOtherVersion { node: self.paths.number(path), version: *version },
            (Op::Delete { path, .. }, "NotEmpty") => Fact::HasChildren { node: self.paths.number(path) },
            (
                Op::Delete { path, .. }
                | Op::SetData { path, .. }
                | Op::Check { path, .. }
                | Op::Exists { path, .. }
                | Op::GetData { path, .. }
                | Op::GetChildren { path, .. },
                "NoNode",
            ) => Fact::Absent { node: self.paths.number(path) },
            _ => return Vec::new(),
        };
        vec![fact]
    }

    /// The end of each session that may have left ephemerals.
    fn sessions(
        &mut self,
        history: &History,
        ephemerals: &BTreeMap<i64, Ephemerals>,
        closes: &HashMap<i64, usize>,
    ) {
        let by_session = told(history);
        for (&session, made) in ephemerals {
            let nodes = self.owned(made);
            let below = made.prefixes.iter().map(|prefix| self.paths.number(parent_of_prefix(prefix)));
            let below: Arc<[Node]> = below.collect();
            if nodes.is_empty() && below.is_empty() {
                continue;
            }
            let facts = vec![Fact::EndSession { session, nodes, below }];
            let close = closes.get(&session).map(|&by| (by, &history.operations[by]));
            let by = close.map_or(made.by, |(by, _)| by);
            let step = Step { by, facts, is_undone: false };
            if let Some((zxid, _)) = close.and_then(|(_, close)| Some((close.zxid?, close.answer()?))) {
                self.pinned.push(Pinned { zxid, is_write: true, step });
                continue;
            }
            let told = by_session.get(&session).copied().unwrap_or_default();
            let closed_us = close.and_then(|(_, close)| close.answer().and(close.returned_us));
            let until_us = closed_us.or(told.expired_us);
            self.floating.push(Floating {
                step,
                is_certain: until_us.is_some(),
                from_us: told.served_us,
                until_us: until_us.unwrap_or(u64::MAX),
                above: told.served_at,
            });
        }
    }

    /// Only now is it known which names anybody saw.
    fn name_sequential(&mut self) {
        for fact in self.floating.iter_mut().flat_map(|floating| &mut floating.step.facts) {
            let Fact::CreateSequential { prefix, seen, .. } = fact else { continue };
            let named =
                self.paths.all().filter(|(_, path)| path.strip_prefix(&**prefix).is_some_and(is_number));
            *seen = named.map(|(node, _)| node).collect();
        }
    }

    fn owned(&mut self, made: &Ephemerals) -> Arc<[(Node, Node)]> {
        let mut owned = made.paths.clone();
        for prefix in &made.prefixes {
            let named =
                self.paths.all().filter(|(_, path)| path.strip_prefix(&**prefix).is_some_and(is_number));
            owned.extend(named.map(|(_, path)| path.to_owned()));
        }
        owned.sort_unstable();
        owned.dedup();
        let pairs =
            owned.iter().filter_map(|path| Some((self.paths.number(path), self.paths.number(parent(path)?))));
        pairs.collect()
    }
}

/// What one session may have created.
struct Ephemerals {
    paths: Vec<String>,
    prefixes: Vec<String>,
    /// The first of its creates.
    by: usize,
}

fn ephemerals(history: &History) -> BTreeMap<i64, Ephemerals> {
    let mut made: BTreeMap<i64, Ephemerals> = BTreeMap::new();
    for (by, operation) in history.operations.iter().enumerate() {
        if matches!(operation.outcome, Outcome::Error(_)) {
            continue;
        }
        let answered = operation.answered();
        for (index, op) in operation.op.parts().iter().enumerate() {
            let Op::Create { path, kind: NodeKind::Ephemeral, sequential, .. } = op else { continue };
            let of = made.entry(operation.session).or_insert_with(|| Ephemerals {
                paths: Vec::new(),
                prefixes: Vec::new(),
                by,
            });
            let name = answered.get(index).and_then(|(_, answer)| answer.path.clone());
            match name {
                Some(path) => of.paths.push(path),
                None if *sequential => of.prefixes.push(path.clone()),
                None => of.paths.push(path.clone()),
            }
        }
    }
    made
}

/// What the replies to one session say about its end.
#[derive(Debug, Clone, Copy, Default)]
struct Told {
    served_us: u64,
    served_at: i64,
    expired_us: Option<u64>,
}

fn told(history: &History) -> HashMap<i64, Told> {
    let mut told: HashMap<i64, Told> = HashMap::new();
    for operation in history.operations.iter().filter(|operation| operation.answer().is_some()) {
        let of = told.entry(operation.session).or_default();
        of.served_us = of.served_us.max(operation.invoked_us);
        of.served_at = of.served_at.max(operation.zxid.unwrap_or(0));
    }
    for item in history.processes.iter().flat_map(|process| &process.stream) {
        if let Item::Session(event) = item
            && event.state == SessionState::Expired
        {
            told.entry(event.session).or_default().expired_us = Some(event.at_us);
        }
    }
    told
}

/// For each read behind a sync of its session that was answered: when that was asked for. The read is no older.
fn synced(history: &History) -> Vec<Option<u64>> {
    let mut synced = vec![None; history.operations.len()];
    for process in &history.processes {
        let mut since: Option<&Operation> = None;
        for item in &process.stream {
            let Item::Returned(index) = item else { continue };
            let operation = &history.operations[*index];
            if let (Op::Sync { .. }, Some(_)) = (&operation.op, operation.answer()) {
                since = Some(operation);
            }
            let since = since.filter(|sync| operation.op.is_read() && sync.session == operation.session);
            synced[*index] = since.map(|sync| sync.invoked_us);
        }
    }
    synced
}

fn is_number(suffix: &str) -> bool {
    suffix.len() == 10 && suffix.bytes().all(|byte| byte.is_ascii_digit())
}

fn number_of(path: &str) -> Option<i64> {
    path.get(path.len().checked_sub(10)?..)?.parse().ok()
}

/// A sequential node's path may end with a slash before its number is there.
fn parent_of_prefix(prefix: &str) -> &str {
    match prefix.rsplit_once('/') {
        Some(("", _)) | None => "/",
        Some((parent, _)) => parent,
    }
}
