//! The watches of the connections of one member.
//!
//! Not replicated: a watch belongs to a connection and goes with it. Data watches are set by getData and exists, child
//! watches by getChildren; both tell once. What addWatch sets stays. Whether a watcher may read the node is asked when an event is
//! delivered, with the list in the [`Event`]; the watch is used up all the same.

use std::hash::Hash;
use std::iter;
use std::sync::Arc;

use foldhash::fast::{FixedState, RandomState};
use hashbrown::{HashMap, HashSet};
use zke_wire::{EventKind, Id, WatcherEvent, Zxid, path};

use crate::acl;
use crate::event::{Event, Table};
use crate::state::State;

/// Who is to be told of which change. `W` names a connection.
pub struct WatchTable<W> {
    data: Watches<W>,
    child: Watches<W>,
    /// Of a node and the list of its children, for good.
    persistent: Watches<W>,
    /// Of a node and all below it, for good; hears of nodes, never of lists of children.
    recursive: Watches<W>,
}

/// Which watches a client asks about (`Watcher.WatcherType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchKind {
    Children,
    Data,
    Any,
    Persistent,
    PersistentRecursive,
}

impl WatchKind {
    /// The kind for a number of the wire, if there is one.
    pub fn from_i32(number: i32) -> Option<Self> {
        Some(match number {
            1 => Self::Children,
            2 => Self::Data,
            3 => Self::Any,
            4 => Self::Persistent,
            5 => Self::PersistentRecursive,
            _ => return None,
        })
    }

    fn includes(self, other: Self) -> bool {
        self == Self::Any || self == other
    }
}

impl<W: Copy + Eq + Hash> WatchTable<W> {
    pub fn new() -> Self {
        Self {
            data: Watches::new(),
            child: Watches::new(),
            persistent: Watches::new(),
            recursive: Watches::new(),
        }
    }

    /// Arms the same watch twice to the same end as once.
    pub fn arm_data(&mut self, path: &str, watcher: W) {
        self.data.arm(path, watcher);
    }

    /// As [`arm_data`](Self::arm_data), for the children of `path`.
    pub fn arm_child(&mut self, path: &str, watcher: W) {
        self.child.arm(path, watcher);
    }

    /// Until it is removed, tells of `path` and of the list of its children. The node need not be there.
    pub fn arm_persistent(&mut self, path: &str, watcher: W) {
        self.persistent.arm(path, watcher);
    }

    /// Until it is removed, tells of `path` and of every node below it.
    pub fn arm_recursive(&mut self, path: &str, watcher: W) {
        self.recursive.arm(path, watcher);
    }

    /// Whether this watcher waits for `path` in this way.
    pub fn is_armed(&self, path: &str, kind: WatchKind, watcher: W) -> bool {
        self.tables().into_iter().any(|(table, of)| kind.includes(of) && table.is_armed(path, watcher))
    }

    /// Takes this watcher's watches of `path` away; false if there were none of this kind.
    pub fn disarm(&mut self, path: &str, kind: WatchKind, watcher: W) -> bool {
        let of_kind = self.tables_mut().into_iter().filter(|(_, of)| kind.includes(*of));
        of_kind.fold(false, |found, (table, _)| table.disarm(path, watcher) || found)
    }

    /// Those to tell of `event`, each once, in however many ways it waited. What tells once is used up.
    #[must_use]
    pub fn trigger(&mut self, event: &Event) -> Vec<W> {
        let mut watchers = match event.table {
            Table::Data => self.data.take(&event.path),
            Table::Child => self.child.take(&event.path),
            Table::Both => {
                let mut watchers = self.data.take(&event.path);
                watchers.extend(self.child.take(&event.path));
                watchers
            }
        };
        watchers.extend(self.persistent.watchers_of(&event.path));
        if event.table != Table::Child && !self.recursive.by_path.is_empty() {
            let ancestors = iter::successors(Some(&*event.path), |path| path::parent(path));
            watchers.extend(ancestors.flat_map(|path| self.recursive.watchers_of(path)));
        }
        watchers.into_iter().collect()
    }

    /// Forgets a connection that ended.
    pub fn remove_watcher(&mut self, watcher: W) {
        self.tables_mut().into_iter().for_each(|(table, _)| table.remove_watcher(watcher));
    }

    /// Arms what a reconnecting client waits for and has not been told. The events that it missed are for the caller to
    /// send, before the reply.
    pub fn arm_all(&mut self, missed: &Missed, watcher: W) {
        missed.arm_data.iter().for_each(|path| self.data.arm(path, watcher));
        missed.arm_child.iter().for_each(|path| self.child.arm(path, watcher));
    }

    /// Pairs of path and watcher, in all tables together.
    pub fn watches(&self) -> usize {
        self.tables().iter().map(|(table, _)| table.count).sum()
    }

    /// Paths of all tables together; one that stands in two counts twice.
    pub fn paths(&self) -> usize {
        self.tables().iter().map(|(table, _)| table.by_path.len()).sum()
    }

    /// Connections with at least one watch.
    pub fn watchers(&self) -> usize {
        let watchers: HashSet<W, FixedState> =
            self.tables().iter().flat_map(|(table, _)| table.by_watcher.keys().copied()).collect();
        watchers.len()
    }

    /// Watchers and paths of the watches that ZooKeeper counts and lists: those of nodes, not those of lists of
    /// children. A pair that waits in two ways comes twice. In no order.
    pub fn node_watches(&self) -> impl Iterator<Item = (W, &Arc<str>)> {
        let tables = [&self.data, &self.persistent, &self.recursive];
        let by_watcher = tables.into_iter().flat_map(|table| &table.by_watcher);
        by_watcher.flat_map(|(watcher, paths)| paths.iter().map(|path| (*watcher, path)))
    }

    /// Paths that those watches are of. One that is watched for good and for once counts once for each.
    pub fn node_paths(&self) -> usize {
        self.data.by_path.len() + self.persistent.by_path.len() + self.recursive.by_path.len()
    }

    /// Connections with at least one of them.
    pub fn node_watchers(&self) -> usize {
        let tables = [&self.data, &self.persistent, &self.recursive];
        let watchers: HashSet<W, FixedState> =
            tables.into_iter().flat_map(|table| table.by_watcher.keys().copied()).collect();
        watchers.len()
    }

    /// How many pairs [`node_watches`](Self::node_watches) has.
    pub fn node_watch_count(&self) -> usize {
        self.data.count + self.persistent.count + self.recursive.count
    }

    fn tables(&self) -> [(&Watches<W>, WatchKind); 4] {
        [
            (&self.data, WatchKind::Data),
            (&self.child, WatchKind::Children),
            (&self.persistent, WatchKind::Persistent),
            (&self.recursive, WatchKind::PersistentRecursive),
        ]
    }

    fn tables_mut(&mut self) -> [(&mut Watches<W>, WatchKind); 4] {
        [
            (&mut self.data, WatchKind::Data),
            (&mut self.child, WatchKind::Children),
            (&mut self.persistent, WatchKind::Persistent),
            (&mut self.recursive, WatchKind::PersistentRecursive),
        ]
    }
}

impl<W: Copy + Eq + Hash> Default for WatchTable<W> {
    fn default() -> Self {
        Self::new()
    }
}

/// What setWatches finds: events that the client missed while it was away, and watches to arm since it missed none.
///
/// An event about a node that the client may not read any more is not told, or a list of watches would be a way round
/// the access control list (CVE-2026-59739). Its watch is armed: at delivery the list is asked again. That a node is
/// not there is told to everyone, as `exists` does.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Missed {
    /// In the order in which they are sent, before the reply and with zxid -1.
    pub events: Vec<WatcherEvent>,
    pub arm_data: Vec<String>,
    pub arm_child: Vec<String>,
}

impl Missed {
    /// `last_zxid_seen` is the client's; `data`, `exist` and `child` are the paths it waits for, by how it came to, and
    /// `identities` are who it is.
    pub fn since(
        state: &State,
        last_zxid_seen: Zxid,
        data: Vec<String>,
        exist: Vec<String>,
        child: Vec<String>,
        identities: &[Id],
    ) -> Missed {
        let stat = |path: &str| state.tree.find(path).map(|place| state.tree.stat(place));
        let readable = |path: &str| {
            state.tree.find(path).is_none_or(|place| acl::may_read(state.tree.acl(place), identities))
        };
        let mut missed = Missed::default();
        for path in data {
            match stat(&path) {
                None => missed.event(EventKind::NodeDeleted, path),
                Some(stat) if stat.mzxid > last_zxid_seen && readable(&path) => {
                    missed.event(EventKind::NodeDataChanged, path)
                }
                Some(_) => missed.arm_data.push(path),
            }
        }
        for path in exist {
            match stat(&path) {
                Some(_) if readable(&path) => missed.event(EventKind::NodeCreated, path),
                _ => missed.arm_data.push(path),
            }
        }
        for path in child {
            match stat(&path) {
                None => missed.event(EventKind::NodeDeleted, path),
                Some(stat) if stat.pzxid > last_zxid_seen && readable(&path) => {
                    missed.event(EventKind::NodeChildrenChanged, path)
                }
                Some(_) => missed.arm_child.push(path),
            }
        }
        missed
    }

    fn event(&mut self, kind: EventKind, path: String) {
        self.events.push(WatcherEvent { kind, path: path.into() });
    }
}

struct Watches<W> {
    // Looked up by paths that clients choose, hence the random seed; never iterated.
    by_path: HashMap<Arc<str>, Watchers<W>, RandomState>,
    by_watcher: HashMap<W, HashSet<Arc<str>, RandomState>, FixedState>,
    count: usize,
}

/// Iterated when an event is told, so its order must follow from the watchers alone, for a simulation to repeat.
type Watchers<W> = HashSet<W, FixedState>;

impl<W: Copy + Eq + Hash> Watches<W> {
    fn new() -> Self {
        Self { by_path: HashMap::default(), by_watcher: HashMap::default(), count: 0 }
    }

    fn arm(&mut self, path: &str, watcher: W) {
        let path = match self.by_path.get_key_value(path) {
            Some((path, _)) => path.clone(),
            None => path.into(),
        };
        if self.by_path.entry(path.clone()).or_default().insert(watcher) {
            self.by_watcher.entry(watcher).or_default().insert(path);
            self.count += 1;
        }
    }

    fn is_armed(&self, path: &str, watcher: W) -> bool {
        self.by_path.get(path).is_some_and(|watchers| watchers.contains(&watcher))
    }

    /// False if it was not armed.
    fn disarm(&mut self, path: &str, watcher: W) -> bool {
        let Some(watchers) = self.by_path.get_mut(path) else { return false };
        if !watchers.remove(&watcher) {
            return false;
        }
        self.count -= 1;
        if watchers.is_empty() {
            self.by_path.remove(path);
        }
        if let Some(paths) = self.by_watcher.get_mut(&watcher) {
            paths.remove(path);
            if paths.is_empty() {
                self.by_watcher.remove(&watcher);
            }
        }
        true
    }

    fn watchers_of(&self, path: &str) -> impl Iterator<Item = W> {
        self.by_path.get(path).into_iter().flatten().copied()
    }

    fn take(&mut self, path: &Arc<str>) -> Watchers<W> {
        let Some(watchers) = self.by_path.remove(path) else { return Watchers::default() };
        self.count -= watchers.len();
        for watcher in &watchers {
            if let Some(paths) = self.by_watcher.get_mut(watcher) {
                paths.remove(path);
                if paths.is_empty() {
                    self.by_watcher.remove(watcher);
                }
            }
        }
        watchers
    }

    fn remove_watcher(&mut self, watcher: W) {
        for path in self.by_watcher.remove(&watcher).unwrap_or_default() {
            self.count -= 1;
            if let Some(watchers) = self.by_path.get_mut(&path) {
                watchers.remove(&watcher);
                if watchers.is_empty() {
                    self.by_path.remove(&path);
                }
            }
        }
    }
}
