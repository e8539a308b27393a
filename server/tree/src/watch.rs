//! One-shot watches of the connections of one member.
//!
//! Not replicated: a watch belongs to a connection and goes with it. Two tables, as in ZooKeeper: data watches are set
//! by getData and exists, child watches by getChildren. Whether a watcher may read the node is asked when an event is
//! delivered, with the list in the [`Event`]; the watch is used up all the same.

use std::hash::Hash;
use std::sync::Arc;

use foldhash::fast::{FixedState, RandomState};
use hashbrown::{HashMap, HashSet};
use zke_wire::{EventKind, WatcherEvent, Zxid};

use crate::event::{Event, Table};
use crate::state::State;

/// Who is to be told of which change. `W` names a connection.
pub struct WatchTable<W> {
    data: Watches<W>,
    child: Watches<W>,
}

impl<W: Copy + Eq + Hash> WatchTable<W> {
    pub fn new() -> Self {
        Self { data: Watches::new(), child: Watches::new() }
    }

    /// Arms the same watch twice to the same end as once.
    pub fn arm_data(&mut self, path: &str, watcher: W) {
        self.data.arm(path, watcher);
    }

    /// As [`arm_data`](Self::arm_data), for the children of `path`.
    pub fn arm_child(&mut self, path: &str, watcher: W) {
        self.child.arm(path, watcher);
    }

    /// Those to tell of `event`, each once, even if it waited in both tables. Their watches are used up.
    #[must_use]
    pub fn trigger(&mut self, event: &Event) -> Vec<W> {
        match event.table {
            Table::Data => self.data.take(&event.path).into_iter().collect(),
            Table::Child => self.child.take(&event.path).into_iter().collect(),
            Table::Both => {
                let mut watchers = self.data.take(&event.path);
                watchers.extend(self.child.take(&event.path));
                watchers.into_iter().collect()
            }
        }
    }

    /// Forgets a connection that ended.
    pub fn remove_watcher(&mut self, watcher: W) {
        self.data.remove_watcher(watcher);
        self.child.remove_watcher(watcher);
    }

    /// Arms what a reconnecting client waits for and has not missed. The events that it missed are for the caller to
    /// send, before the reply, whether or not the client may read those nodes.
    pub fn arm_all(&mut self, missed: &Missed, watcher: W) {
        missed.arm_data.iter().for_each(|path| self.data.arm(path, watcher));
        missed.arm_child.iter().for_each(|path| self.child.arm(path, watcher));
    }

    /// Pairs of path and watcher, in both tables together.
    pub fn watches(&self) -> usize {
        self.data.count + self.child.count
    }

    /// Paths of both tables together; one that stands in both counts twice.
    pub fn paths(&self) -> usize {
        self.data.by_path.len() + self.child.by_path.len()
    }

    /// Connections with at least one watch.
    pub fn watchers(&self) -> usize {
        let only_child =
            self.child.by_watcher.keys().filter(|watcher| !self.data.by_watcher.contains_key(*watcher));
        self.data.by_watcher.len() + only_child.count()
    }
}

impl<W: Copy + Eq + Hash> Default for WatchTable<W> {
    fn default() -> Self {
        Self::new()
    }
}

/// What setWatches finds: events that the client missed while it was away, and watches to arm since it missed none.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Missed {
    /// In the order in which they are sent, before the reply and with zxid -1.
    pub events: Vec<WatcherEvent>,
    pub arm_data: Vec<String>,
    pub arm_child: Vec<String>,
}

impl Missed {
    /// `last_zxid_seen` is the client's; `data`, `exist` and `child` are the paths it waits for, by how it came to.
    pub fn since(
        state: &State,
        last_zxid_seen: Zxid,
        data: Vec<String>,
        exist: Vec<String>,
        child: Vec<String>,
    ) -> Missed {
        let stat = |path: &str| state.tree.find(path).map(|place| state.tree.stat(place));
        let mut missed = Missed::default();
        for path in data {
            match stat(&path) {
                None => missed.event(EventKind::NodeDeleted, path),
                Some(stat) if stat.mzxid > last_zxid_seen => missed.event(EventKind::NodeDataChanged, path),
                Some(_) => missed.arm_data.push(path),
            }
        }
        for path in exist {
            match stat(&path) {
                Some(_) => missed.event(EventKind::NodeCreated, path),
                None => missed.arm_data.push(path),
            }
        }
        for path in child {
            match stat(&path) {
                None => missed.event(EventKind::NodeDeleted, path),
                Some(stat) if stat.pzxid > last_zxid_seen => {
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
