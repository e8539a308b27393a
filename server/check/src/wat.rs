//! WAT: a watch tells of the first change after it was set, once and in order, before any reply that shows the change;
//! a persistent one of every change. After a reconnect, setWatches tells what was missed.

use std::collections::{HashMap, HashSet};
use std::iter;

use crate::changes::{Change, Changes, What};
use crate::event::{EventKind, Op, Outcome, SessionState, parent};
use crate::history::{History, Item, Name, Operation, Watch};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("a watch event is doubled: {event}")]
    Doubled { event: Name },
    #[error("a watch event that no watch had asked for: {event}")]
    Unasked { event: Name },
    #[error("a watch event of nothing that happened: {event}")]
    Invented { event: Name },
    #[error("watch events out of order: {event} came after one of zxid {after:#x}")]
    Order { event: Name, after: i64 },
    #[error("a watch event came after the data: {event} followed {reply}")]
    AfterData { event: Name, reply: Name },
    #[error(
        "a watch event came after the data: {kind:?} {path} for {write}, watched by {watch}, followed {reply}"
    )]
    Late { kind: EventKind, path: String, write: Name, watch: Name, reply: Name },
    #[error(
        "a watch event is lost: no {kind:?} {path} for {write} before {reply}, although {watch} had asked for it"
    )]
    Lost { kind: EventKind, path: String, write: Name, watch: Name, reply: Name },
    #[error("a watch event is lost: {event} came, but not that of the earlier {write}, asked for by {watch}")]
    Skipped { event: Name, write: Name, watch: Name },
    #[error("{set} did not tell of {write}: no {kind:?} {path} before its reply")]
    Missed { set: Name, write: Name, kind: EventKind, path: String },
}

pub(crate) fn check(history: &History, changes: &Changes) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (process, stream) in history.processes.iter().map(|process| &process.stream).enumerate() {
        let mut connection = Connection::default();
        for (place, item) in stream.iter().enumerate() {
            let mut at = At { history, changes, process, rest: &stream[place..], faults: &mut faults };
            match item {
                Item::Session(event) => {
                    connection = Connection::default();
                    connection.is_over = event.state != SessionState::Connected;
                }
                Item::Invoked(index) => connection.invoked(history, *index),
                Item::Returned(index) if !history.operations[*index].is_unknown() => {
                    connection.replied(&mut at, item, *index);
                }
                Item::Returned(_) => {}
                Item::Watch(watch) => connection.told(&mut at, watch),
            }
        }
    }
    faults
}

/// A place in the stream of a process.
struct At<'a, 'f> {
    history: &'a History,
    changes: &'a Changes,
    process: usize,
    rest: &'a [Item],
    faults: &'f mut Vec<Fault>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Table {
    Data,
    Child,
}

#[derive(Debug, Clone, Copy)]
struct Armed {
    /// Changes above it are to be told; `None` if the client did not see how far the server was.
    since: Option<i64>,
    by: usize,
}

#[derive(Default)]
struct Connection<'a> {
    once: HashMap<(Table, &'a str), Armed>,
    persistent: HashMap<&'a str, Armed>,
    recursive: HashMap<&'a str, Armed>,
    /// The first change that was not yet looked for.
    next: usize,
    largest: Option<(i64, &'a Item)>,
    last_event: Option<i64>,
    told: HashMap<(EventKind, &'a str), Vec<i64>>,
    /// Events that have been called late already.
    late: HashSet<(EventKind, &'a str)>,
    /// A setWatches without its reply, and the paths of it that were told of.
    catching_up: Option<(usize, HashSet<(Table, &'a str)>)>,
    has_nameless_events: bool,
    is_over: bool,
}

impl<'a> Connection<'a> {
    fn invoked(&mut self, history: &'a History, index: usize) {
        if let Op::SetWatches { .. } = history.operations[index].op {
            self.catching_up = Some((index, HashSet::new()));
        }
    }

    fn replied(&mut self, at: &mut At<'a, '_>, item: &'a Item, index: usize) {
        let operation = &at.history.operations[index];
        if let Some(zxid) = operation.zxid {
            self.judge(at, zxid, index);
            if self.largest.is_none_or(|(largest, _)| largest < zxid) {
                self.largest = Some((zxid, item));
            }
        }
        if self.is_over {
            return;
        }
        self.arm(at, index, operation);
    }

    fn arm(&mut self, at: &mut At<'a, '_>, index: usize, operation: &'a Operation) {
        let armed = Armed { since: operation.zxid, by: index };
        if self.is_idle() {
            self.next = operation.zxid.map_or(self.next, |zxid| at.changes.after(zxid));
        }
        let not_there = matches!(&operation.outcome, Outcome::Error(refusal) if refusal.code == "NoNode");
        match (&operation.op, operation.answer().is_some()) {
            (Op::Exists { path, watch: true }, ok) if ok || not_there => {
                self.once.insert((Table::Data, path), armed);
            }
            (Op::GetData { path, watch: true }, true) => {
                self.once.insert((Table::Data, path), armed);
            }
            (Op::GetChildren { path, watch: true }, true) => {
                self.once.insert((Table::Child, path), armed);
            }
            (Op::AddWatch { path, recursive }, true) => {
                let table = if *recursive { &mut self.recursive } else { &mut self.persistent };
                table.insert(path, armed);
            }
            (Op::RemoveWatches { path }, true) => {
                self.once.remove(&(Table::Data, path));
                self.once.remove(&(Table::Child, path));
                self.persistent.remove(path.as_str());
                self.recursive.remove(path.as_str());
            }
            (Op::SetWatches { .. }, true) => self.arm_again(at, index, operation),
            _ => {}
        }
    }

    fn arm_again(&mut self, at: &mut At<'a, '_>, index: usize, operation: &'a Operation) {
        let Op::SetWatches { relative_zxid, data, exist, child, persistent, recursive } = &operation.op
        else {
            return;
        };
        let told =
            self.catching_up.take().filter(|(of, _)| *of == index).map(|(_, told)| told).unwrap_or_default();
        let armed = Armed { since: operation.zxid, by: index };
        let mut one = |table: Table, path: &'a str, missed: Option<(EventKind, &Change)>| {
            if told.contains(&(table, path)) {
                return;
            }
            if let Some((kind, change)) = missed {
                let (set, write) = (at.history.name(index), at.history.name(change.by));
                at.faults.push(Fault::Missed { set, write, kind, path: path.to_owned() });
            }
            self.once.insert((table, path), armed);
        };
        let until = operation.zxid.unwrap_or(i64::MIN);
        let is_certain = |path: &str| !at.changes.is_open(path) && !at.changes.is_mortal(path, until);
        let last = |path: &str| {
            let last = at.changes.of_path(path).rfind(|change| change.zxid <= until);
            last.filter(|_| is_certain(path))
        };
        for path in data {
            let missed = last(path).and_then(|change| match change.what {
                What::Deleted => Some((EventKind::NodeDeleted, change)),
                _ => (change.zxid > *relative_zxid).then_some((EventKind::NodeDataChanged, change)),
            });
            one(Table::Data, path, missed);
        }
        for path in exist {
            let there = last(path).filter(|change| change.what != What::Deleted);
            one(Table::Data, path, there.map(|change| (EventKind::NodeCreated, change)));
        }
        for path in child {
            let gone = last(path).filter(|change| change.what == What::Deleted);
            let changed = at.changes.of_children(path).rfind(|change| change.zxid <= until);
            let changed = changed.filter(|change| change.zxid > *relative_zxid && is_certain(path));
            let changed = changed.filter(|change| is_certain(&change.path));
            let gone = gone.map(|change| (EventKind::NodeDeleted, change));
            one(Table::Child, path, gone.or(changed.map(|change| (EventKind::NodeChildrenChanged, change))));
        }
        self.persistent.extend(persistent.iter().map(|path| (path.as_str(), armed)));
        self.recursive.extend(recursive.iter().map(|path| (path.as_str(), armed)));
    }

    fn is_idle(&self) -> bool {
        self.once.is_empty() && self.persistent.is_empty() && self.recursive.is_empty()
    }

    fn told(&mut self, at: &mut At<'a, '_>, watch: &'a Watch) {
        let name = || at.history.name_of_watch(at.process, watch);
        let path = watch.path.as_str();
        if self.late.remove(&(watch.kind, path)) {
            return;
        }
        let consumed = self.consume(watch);
        if consumed.is_empty() && !self.lasts(watch) && !self.catches_up(at.history, watch) {
            let event = name();
            let known = self.told.contains_key(&(watch.kind, path));
            at.faults.push(if known { Fault::Doubled { event } } else { Fault::Unasked { event } });
            return;
        }
        let told = self.told.entry((watch.kind, path)).or_default();
        let Some(zxid) = watch.zxid else {
            self.has_nameless_events |= self.catching_up.is_none();
            return;
        };
        told.push(zxid);
        let times = told.iter().filter(|one| **one == zxid).count();
        if let Some(fault) = self.out_of_order(at, watch, zxid).or_else(|| unfounded(at, watch, zxid, times))
        {
            at.faults.push(fault);
        }
        for (table, armed) in consumed {
            let Some(since) = armed.since else { continue };
            let first = match table {
                Table::Data => at.changes.of_path(path).find(|change| change.zxid > since),
                Table::Child => at.changes.of_children(path).find(|change| change.zxid > since),
            };
            if let Some(change) = first.filter(|change| change.zxid < zxid) {
                let (write, watch) = (at.history.name(change.by), at.history.name(armed.by));
                at.faults.push(Fault::Skipped { event: name(), write, watch });
            }
        }
        self.last_event = self.last_event.max(Some(zxid));
    }

    /// The one-shot watches that the event uses up.
    fn consume(&mut self, watch: &'a Watch) -> Vec<(Table, Armed)> {
        let tables: &[Table] = match watch.kind {
            EventKind::NodeCreated | EventKind::NodeDataChanged => &[Table::Data],
            EventKind::NodeChildrenChanged => &[Table::Child],
            EventKind::NodeDeleted => &[Table::Data, Table::Child],
        };
        let taken =
            tables.iter().filter_map(|table| Some((*table, self.once.remove(&(*table, &*watch.path))?)));
        taken.collect()
    }

    fn lasts(&self, watch: &Watch) -> bool {
        let mut ancestors = iter::successors(Some(watch.path.as_str()), |path| parent(path));
        self.persistent.contains_key(watch.path.as_str())
            || watch.kind != EventKind::NodeChildrenChanged
                && ancestors.any(|path| self.recursive.contains_key(path))
    }

    fn catches_up(&mut self, history: &'a History, watch: &'a Watch) -> bool {
        let Some((set, told)) = &mut self.catching_up else { return false };
        let Op::SetWatches { data, exist, child, .. } = &history.operations[*set].op else { return false };
        let lists: &[(Table, &Vec<String>)] = match watch.kind {
            EventKind::NodeDataChanged => &[(Table::Data, data)],
            EventKind::NodeCreated => &[(Table::Data, exist)],
            EventKind::NodeChildrenChanged => &[(Table::Child, child)],
            EventKind::NodeDeleted => &[(Table::Data, data), (Table::Child, child)],
        };
        lists.iter().any(|(table, paths)| paths.contains(&watch.path) && told.insert((*table, &watch.path)))
    }

    fn out_of_order(&self, at: &At<'a, '_>, watch: &'a Watch, zxid: i64) -> Option<Fault> {
        let event = || at.history.name_of_watch(at.process, watch);
        if let Some(after) = self.last_event.filter(|last| zxid < *last) {
            return Some(Fault::Order { event: event(), after });
        }
        let (_, reply) = self.largest.filter(|(largest, _)| zxid <= *largest)?;
        Some(Fault::AfterData { event: event(), reply: at.history.name_of(at.process, reply) })
    }

    /// Looks for the events of all changes that a reply of `zxid` can show.
    fn judge(&mut self, at: &mut At<'a, '_>, zxid: i64, reply: usize) {
        if self.is_idle() {
            return;
        }
        let until = at.changes.after(zxid);
        for change in at.changes.all.get(self.next..until).unwrap_or_default() {
            let kind = change.kind();
            let mut missing: Vec<(EventKind, &'a str, Armed)> = Vec::new();
            let is_due = |armed: &Armed| armed.since.is_some_and(|since| since < change.zxid);
            let mut once = |table, kind, path: &'a str| {
                if self.once.get(&(table, path)).is_some_and(is_due) {
                    missing.extend(self.once.remove(&(table, path)).map(|armed| (kind, path, armed)));
                }
            };
            once(Table::Data, kind, &change.path);
            if kind == EventKind::NodeDeleted {
                once(Table::Child, kind, &change.path);
            }
            if let Some(parent) = change.parent() {
                once(Table::Child, EventKind::NodeChildrenChanged, parent);
            }
            if !self.has_nameless_events {
                missing.extend(self.missing_for_good(change));
            }
            for (kind, path, armed) in missing {
                let names = |index| at.history.name(index);
                let (write, watch, reply) = (names(change.by), names(armed.by), names(reply));
                let owned = path.to_owned();
                at.faults.push(if comes_later(at.rest, kind, path) {
                    self.late.insert((kind, path));
                    Fault::Late { kind, path: owned, write, watch, reply }
                } else {
                    Fault::Lost { kind, path: owned, write, watch, reply }
                });
            }
        }
        self.next = self.next.max(until);
    }

    /// The events of a change that persistent and recursive watches should have had.
    fn missing_for_good(&self, change: &'a Change) -> Vec<(EventKind, &'a str, Armed)> {
        if self.persistent.is_empty() && self.recursive.is_empty() {
            return Vec::new();
        }
        let kind = change.kind();
        let path = change.path.as_str();
        let of_node = self.persistent.get(path).map(|armed| (kind, path, *armed));
        let of_parent = change
            .parent()
            .and_then(|parent| Some((EventKind::NodeChildrenChanged, parent, *self.persistent.get(parent)?)));
        let mut ancestors = iter::successors(Some(path), |path| parent(path));
        let of_tree = ancestors.find_map(|above| Some((kind, path, *self.recursive.get(above)?)));
        let due = [of_node.or(of_tree), of_parent].into_iter().flatten();
        due.filter(|(kind, path, armed)| {
            let was_told = self.told.get(&(*kind, *path)).is_some_and(|told| told.contains(&change.zxid));
            !was_told && armed.since.is_some_and(|since| since < change.zxid)
        })
        .collect()
    }
}

/// Whether the event says something that did not happen, or says it too often.
fn unfounded(at: &At<'_, '_>, watch: &Watch, zxid: i64, times: usize) -> Option<Fault> {
    let event = || at.history.name_of_watch(at.process, watch);
    let causes = at.changes.at(zxid).iter().filter(|change| match watch.kind {
        EventKind::NodeChildrenChanged => change.parent() == Some(&watch.path),
        kind => change.kind() == kind && change.path == watch.path,
    });
    let causes: Vec<_> = causes.collect();
    if times <= causes.len() {
        return None;
    }
    let is_open = match watch.kind {
        EventKind::NodeChildrenChanged => at.changes.has_open_children(&watch.path),
        _ => at.changes.is_open(&watch.path) || at.changes.is_mortal(&watch.path, zxid),
    };
    // At the end of a session ephemerals go that nobody knows of, beside those that are known.
    let of_an_end = watch.kind == EventKind::NodeChildrenChanged
        && causes.iter().any(|change| at.history.operations[change.by].op == Op::Close {});
    match (is_open, causes.is_empty()) {
        (true, none) if none || of_an_end => None,
        (_, true) => Some(Fault::Invented { event: event() }),
        (_, false) => Some(Fault::Doubled { event: event() }),
    }
}

fn comes_later(rest: &[Item], kind: EventKind, path: &str) -> bool {
    rest.iter()
        .take_while(|item| !matches!(item, Item::Session(_)))
        .any(|item| matches!(item, Item::Watch(watch) if watch.kind == kind && watch.path == path))
}
