//! Znodes as this checker understands them, and facts about them that can be tried, done and taken back.
//!
//! Everything that the history does not say may be unknown here (`None`, [`Place::Open`]), and is learned from the
//! first fact that tells it: nodes that were there before the history began, and zxids of writes whose replies were
//! lost.

use std::collections::HashSet;
use std::collections::hash_map::{Entry, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::event::{Stat, parent};

/// A path, by its number.
pub(super) type Node = u32;
/// Which operation of the history.
pub(super) type By = usize;

/// Something that an operation did or saw, of one node unless it says more.
#[derive(Debug, Clone)]
pub(super) enum Fact {
    Create {
        node: Node,
        data: Arc<str>,
        owner: i64,
    },
    Delete {
        node: Node,
        version: i32,
    },
    Set {
        node: Node,
        data: Arc<str>,
        version: i32,
    },
    /// With the number in its name, if it is sequential.
    ChildCreated {
        parent: Node,
        child: Node,
        number: Option<i64>,
    },
    ChildDeleted {
        parent: Node,
        child: Node,
    },
    /// A create whose name nobody was told; those of its names that somebody has seen.
    CreateSequential {
        parent: Node,
        prefix: Arc<str>,
        data: Arc<str>,
        owner: i64,
        seen: Arc<[Node]>,
    },
    /// Deletes what the session owns: of `nodes`, with their parents, and of children of `below` with names that nobody
    /// was told.
    EndSession {
        session: i64,
        nodes: Arc<[(Node, Node)]>,
        below: Arc<[Node]>,
    },
    Absent {
        node: Node,
    },
    Present {
        node: Node,
        stat: Option<Stat>,
        data: Option<Arc<str>>,
    },
    Children {
        node: Node,
        names: Vec<Node>,
    },
    HasVersion {
        node: Node,
        version: i32,
    },
    HasOtherVersion {
        node: Node,
        version: i32,
    },
    HasChildren {
        node: Node,
    },
    IsEphemeral {
        node: Node,
    },
}

/// Where in the order a change was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Place {
    At(i64),
    /// Somewhere above and below these.
    Open(i64, i64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Presence {
    /// Not mentioned yet.
    Unseen,
    Absent,
    Present,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Scalars {
    presence: Presence,
    data: Option<Arc<str>>,
    version: Option<i32>,
    czxid: Place,
    mzxid: Place,
    pzxid: Place,
    owner: Option<i64>,
    /// How many children came, and how many went.
    created: Option<i64>,
    deleted: Option<i64>,
    /// Its list of children is known in full.
    complete: bool,
    /// Some child was mortal, so the list may change by itself.
    loose: bool,
    /// Whose write it is.
    by: Option<By>,
}

#[derive(Debug)]
struct Life {
    scalars: Scalars,
    children: HashSet<Node>,
    /// Of the set of children, whatever the order in which they came.
    children_hash: u64,
    /// Known not to be children, while the list is not complete.
    missing: HashSet<Node>,
}

/// Why a fact cannot be.
#[derive(Debug, Clone)]
pub(super) struct Mismatch {
    pub node: Node,
    pub why: Why,
    /// The write that made the node as it is.
    pub by: Option<By>,
}

#[derive(Debug, Clone)]
pub(super) enum Why {
    Absent,
    Present,
    Version {
        is: i32,
        seen: i32,
    },
    Data {
        is: Arc<str>,
        seen: Arc<str>,
    },
    Zxid {
        field: &'static str,
        is: Place,
        seen: i64,
    },
    Owner {
        is: i64,
        seen: i64,
    },
    Cversion {
        is: i64,
        seen: i64,
    },
    NumChildren {
        is: i64,
        seen: i64,
    },
    HasChild(Node),
    LacksChild(Node),
    HasNoChildren,
    Number {
        is: i64,
        seen: i64,
    },
    NotEphemeral,
    /// It is from before the history, which nothing says.
    NeverWritten {
        zxid: i64,
    },
}

enum Undo {
    Scalars(Node, Box<Scalars>),
    ChildAdded(Node, Node),
    ChildRemoved(Node, Node),
    MissingAdded(Node, Node),
    MissingRemoved(Node, Node),
}

pub(super) struct State<'p> {
    paths: &'p mut Paths,
    lives: HashMap<Node, Life>,
    /// What was made below it need not be explained.
    base: i64,
    trail: Vec<Undo>,
}

/// Numbers of paths.
#[derive(Debug, Default)]
pub(super) struct Paths {
    numbers: HashMap<Arc<str>, Node>,
    texts: Vec<Arc<str>>,
    /// Of each; `None` for the root.
    parents: Vec<Option<Node>>,
    /// Those that were ever made as containers or TTL nodes: the server may delete them at any time.
    pub mortal: HashSet<Node>,
}

impl Fact {
    /// The node that it is about; others that it names belong to the same group.
    pub fn node(&self) -> Node {
        match self {
            Fact::Create { node, .. }
            | Fact::Delete { node, .. }
            | Fact::Set { node, .. }
            | Fact::Absent { node }
            | Fact::Present { node, .. }
            | Fact::Children { node, .. }
            | Fact::HasVersion { node, .. }
            | Fact::HasOtherVersion { node, .. }
            | Fact::HasChildren { node }
            | Fact::IsEphemeral { node } => *node,
            Fact::ChildCreated { parent, .. }
            | Fact::ChildDeleted { parent, .. }
            | Fact::CreateSequential { parent, .. } => *parent,
            Fact::EndSession { nodes, below, .. } => {
                nodes.first().map(|(node, _)| *node).or(below.first().copied()).unwrap_or_default()
            }
        }
    }
}

impl Paths {
    pub fn number(&mut self, path: &str) -> Node {
        if let Some(&number) = self.numbers.get(path) {
            return number;
        }
        let parent = parent(path).map(|parent| self.number(parent));
        let path: Arc<str> = path.into();
        let number = self.texts.len() as Node;
        self.texts.push(path.clone());
        self.parents.push(parent);
        self.numbers.insert(path, number);
        number
    }

    pub fn text(&self, node: Node) -> &str {
        &self.texts[node as usize]
    }

    pub fn len(&self) -> usize {
        self.texts.len()
    }

    pub fn all(&self) -> impl Iterator<Item = (Node, &str)> {
        (0..).zip(self.texts.iter().map(|text| &**text))
    }
}

type Checked = Result<(), Mismatch>;

impl<'p> State<'p> {
    pub fn new(paths: &'p mut Paths, base: i64) -> Self {
        State { paths, lives: HashMap::new(), base, trail: Vec::new() }
    }

    pub fn paths(&self) -> &Paths {
        self.paths
    }

    /// To be handed to [`back_to`](Self::back_to).
    pub fn mark(&self) -> usize {
        self.trail.len()
    }

    pub fn back_to(&mut self, mark: usize) {
        while self.trail.len() > mark {
            let Some(undo) = self.trail.pop() else { return };
            let (Undo::Scalars(node, _)
            | Undo::ChildAdded(node, _)
            | Undo::ChildRemoved(node, _)
            | Undo::MissingAdded(node, _)
            | Undo::MissingRemoved(node, _)) = &undo;
            let life = self.life(*node);
            match undo {
                Undo::Scalars(_, scalars) => life.scalars = *scalars,
                Undo::ChildAdded(_, child) => drop(life.set_child(child, false)),
                Undo::ChildRemoved(_, child) => drop(life.set_child(child, true)),
                Undo::MissingAdded(_, child) => drop(life.missing.remove(&child)),
                Undo::MissingRemoved(_, child) => drop(life.missing.insert(child)),
            }
        }
    }

    /// Nothing so far will be taken back.
    pub fn keep(&mut self) {
        self.trail.clear();
    }

    /// What these nodes are like now, as a number.
    pub fn hash(&self, nodes: &[Node]) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        for node in nodes {
            self.lives.get(node).map(|life| (&life.scalars, life.children_hash)).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Does or checks one fact; on failure the state is as some of it left it, so go [`back_to`](Self::back_to).
    pub fn apply(&mut self, fact: &Fact, by: By, place: Place) -> Checked {
        match fact {
            Fact::Create { node, data, owner } => {
                self.absent(*node)?;
                self.scalars(*node, |scalars| {
                    *scalars = Scalars::created(place, data.clone(), *owner, by);
                });
                let missing: Vec<Node> = self.life(*node).missing.iter().copied().collect();
                missing.into_iter().for_each(|child| self.missing(*node, child, false));
                Ok(())
            }
            Fact::Delete { node, version } => {
                self.present(*node)?;
                self.has_version(*node, *version)?;
                let children: Vec<Node> = self.life(*node).children.iter().copied().collect();
                self.gone_by_themselves(*node, children)?;
                self.scalars(*node, |scalars| *scalars = Scalars::absent(Some(by)));
                Ok(())
            }
            Fact::Set { node, data, version } => {
                self.present(*node)?;
                self.has_version(*node, *version)?;
                self.scalars(*node, |scalars| {
                    scalars.data = Some(data.clone());
                    scalars.version = scalars.version.map(|version| version.wrapping_add(1));
                    scalars.mzxid = place;
                    scalars.by = Some(by);
                });
                Ok(())
            }
            Fact::ChildCreated { parent, child, number } => {
                self.child_created(*parent, *child, *number, place)
            }
            Fact::ChildDeleted { parent, child } => self.child_deleted(*parent, *child, place),
            Fact::CreateSequential { parent, prefix, data, owner, seen: _ } => {
                self.present(*parent)?;
                let Some(number) = self.life(*parent).scalars.created else {
                    return self.mismatch(*parent, Why::HasNoChildren);
                };
                let node = self.paths.number(&format!("{prefix}{number:010}"));
                let (data, owner) = (data.clone(), *owner);
                self.apply(&Fact::Create { node, data, owner }, by, place)?;
                self.child_created(*parent, node, Some(number), place)
            }
            Fact::EndSession { session, nodes, below } => {
                let mut nodes = nodes.to_vec();
                for &parent in below.iter() {
                    nodes.extend(self.life(parent).children.iter().map(|child| (*child, parent)));
                }
                // A set's order must not decide which fact fails first.
                nodes.sort_unstable();
                for (node, parent) in nodes {
                    let scalars = &self.life(node).scalars;
                    if scalars.presence == Presence::Present && scalars.owner == Some(*session) {
                        self.scalars(node, |scalars| *scalars = Scalars::absent(Some(by)));
                        self.child_deleted(parent, node, place)?;
                    }
                }
                Ok(())
            }
            Fact::Absent { node } => self.absent(*node),
            Fact::Present { node, stat, data } => self.seen(*node, stat.as_ref(), data.as_ref()),
            Fact::Children { node, names } => self.seen_children(*node, names),
            Fact::HasVersion { node, version } => {
                self.present(*node)?;
                self.has_version(*node, *version)
            }
            Fact::HasOtherVersion { node, version } => {
                self.present(*node)?;
                match self.life(*node).scalars.version {
                    Some(is) if is == *version => self.mismatch(*node, Why::Version { is, seen: *version }),
                    _ => Ok(()),
                }
            }
            Fact::HasChildren { node } => {
                self.present(*node)?;
                let life = self.life(*node);
                let none = life.scalars.complete && life.children.is_empty();
                if none { self.mismatch(*node, Why::HasNoChildren) } else { Ok(()) }
            }
            Fact::IsEphemeral { node } => {
                self.present(*node)?;
                let owner = self.life(*node).scalars.owner;
                if owner == Some(0) { self.mismatch(*node, Why::NotEphemeral) } else { Ok(()) }
            }
        }
    }

    fn life(&mut self, node: Node) -> &mut Life {
        match self.lives.entry(node) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Life {
                scalars: Scalars { presence: Presence::Unseen, ..Scalars::absent(None) },
                children: HashSet::new(),
                children_hash: 0,
                missing: HashSet::new(),
            }),
        }
    }

    fn scalars(&mut self, node: Node, change: impl FnOnce(&mut Scalars)) {
        let scalars = &mut self.life(node).scalars;
        let before = Box::new(scalars.clone());
        change(scalars);
        self.trail.push(Undo::Scalars(node, before));
    }

    fn child(&mut self, node: Node, child: Node, is_there: bool) {
        if self.life(node).set_child(child, is_there) {
            let undo = if is_there { Undo::ChildAdded } else { Undo::ChildRemoved };
            self.trail.push(undo(node, child));
        }
    }

    fn missing(&mut self, node: Node, child: Node, is_missing: bool) {
        let missing = &mut self.life(node).missing;
        let changed = if is_missing { missing.insert(child) } else { missing.remove(&child) };
        if changed {
            let undo = if is_missing { Undo::MissingAdded } else { Undo::MissingRemoved };
            self.trail.push(undo(node, child));
        }
    }

    fn mismatch(&mut self, node: Node, why: Why) -> Checked {
        let by = self.life(node).scalars.by;
        Err(Mismatch { node, why, by })
    }

    fn absent(&mut self, node: Node) -> Checked {
        let presence = self.life(node).scalars.presence;
        match presence {
            Presence::Absent => Ok(()),
            Presence::Unseen => {
                self.scalars(node, |scalars| scalars.presence = Presence::Absent);
                Ok(())
            }
            // The server has deleted it by itself.
            Presence::Present if self.paths.mortal.contains(&node) => {
                let by = self.life(node).scalars.by;
                self.scalars(node, |scalars| *scalars = Scalars::absent(by));
                Ok(())
            }
            Presence::Present => self.mismatch(node, Why::Present),
        }
    }

    fn present(&mut self, node: Node) -> Checked {
        let presence = self.life(node).scalars.presence;
        match presence {
            Presence::Present => Ok(()),
            Presence::Unseen if self.is_no_child(node) => self.mismatch(node, Why::Absent),
            Presence::Unseen => {
                self.scalars(node, |scalars| scalars.presence = Presence::Present);
                Ok(())
            }
            Presence::Absent => self.mismatch(node, Why::Absent),
        }
    }

    /// Whether a list of children that is known in full lacks it: then it was not there before the history either.
    fn is_no_child(&self, node: Node) -> bool {
        let parent = self.paths.parents[node as usize].and_then(|parent| self.lives.get(&parent));
        parent.is_some_and(|life| life.scalars.complete && !life.children.contains(&node))
    }

    fn has_version(&mut self, node: Node, expected: i32) -> Checked {
        match self.life(node).scalars.version {
            _ if expected == -1 => Ok(()),
            Some(is) if is != expected => self.mismatch(node, Why::Version { is, seen: expected }),
            Some(_) => Ok(()),
            None => {
                self.scalars(node, |scalars| scalars.version = Some(expected));
                Ok(())
            }
        }
    }

    fn child_created(&mut self, parent: Node, child: Node, number: Option<i64>, place: Place) -> Checked {
        self.present(parent)?;
        let is_mortal = self.paths.mortal.contains(&child);
        let life = self.life(parent);
        if let (Some(is), Some(seen)) = (life.scalars.created, number)
            && is != seen
        {
            return self.mismatch(parent, Why::Number { is, seen });
        }
        self.scalars(parent, |scalars| {
            scalars.created = scalars.created.or(number).map(|created| created + 1);
            scalars.pzxid = place;
            scalars.loose |= is_mortal;
        });
        self.child(parent, child, true);
        self.missing(parent, child, false);
        Ok(())
    }

    fn child_deleted(&mut self, parent: Node, child: Node, place: Place) -> Checked {
        self.present(parent)?;
        self.scalars(parent, |scalars| {
            scalars.deleted = scalars.deleted.map(|deleted| deleted + 1);
            scalars.pzxid = place;
        });
        self.child(parent, child, false);
        if !self.life(parent).scalars.complete {
            self.missing(parent, child, true);
        }
        Ok(())
    }

    fn seen(&mut self, node: Node, stat: Option<&Stat>, data: Option<&Arc<str>>) -> Checked {
        let base = self.base;
        let life = self.life(node);
        if let (Presence::Unseen, Some(stat)) = (life.scalars.presence, stat) {
            let late = [stat.czxid, stat.mzxid, stat.pzxid].into_iter().find(|zxid| *zxid >= base);
            if let Some(zxid) = late {
                return self.mismatch(node, Why::NeverWritten { zxid });
            }
        }
        self.present(node)?;
        let mut scalars = self.life(node).scalars.clone();
        if let Some(seen) = data {
            match &scalars.data {
                Some(is) if is != seen => {
                    let why = Why::Data { is: is.clone(), seen: seen.clone() };
                    return self.mismatch(node, why);
                }
                _ => scalars.data = Some(seen.clone()),
            }
        }
        if let Some(Err(why)) = stat.map(|stat| scalars.learn(stat)) {
            return self.mismatch(node, why);
        }
        if scalars != self.life(node).scalars {
            self.scalars(node, |known| *known = scalars);
        }
        Ok(())
    }

    fn seen_children(&mut self, node: Node, names: &[Node]) -> Checked {
        self.present(node)?;
        let life = self.life(node);
        let (complete, known) = (life.scalars.complete, life.children.len());
        let mut found = 0;
        let mut extra = None;
        for name in names {
            if life.children.contains(name) {
                found += 1;
            } else if complete || life.missing.contains(name) {
                extra = Some(*name);
            }
        }
        if let Some(child) = extra {
            return self.mismatch(node, Why::LacksChild(child));
        }
        if found < known {
            let seen: HashSet<Node> = names.iter().copied().collect();
            let unseen: Vec<Node> = self.life(node).children.difference(&seen).copied().collect();
            self.gone_by_themselves(node, unseen)?;
        }
        if !complete {
            names.iter().for_each(|name| self.child(node, *name, true));
            self.scalars(node, |scalars| scalars.complete = true);
        }
        Ok(())
    }
}

impl State<'_> {
    /// Containers and the like may leave a list of children at any time; nothing else may.
    fn gone_by_themselves(&mut self, node: Node, children: Vec<Node>) -> Checked {
        for child in children {
            if !self.paths.mortal.contains(&child) {
                return self.mismatch(node, Why::HasChild(child));
            }
            self.child(node, child, false);
        }
        Ok(())
    }
}

impl Life {
    /// Whether that changed anything.
    fn set_child(&mut self, child: Node, is_there: bool) -> bool {
        let changed = if is_there { self.children.insert(child) } else { self.children.remove(&child) };
        if changed {
            let mut hasher = std::hash::DefaultHasher::new();
            child.hash(&mut hasher);
            self.children_hash ^= hasher.finish();
        }
        changed
    }
}

impl Scalars {
    fn absent(by: Option<By>) -> Self {
        let unknown = Place::Open(i64::MIN, i64::MAX);
        Scalars {
            presence: Presence::Absent,
            data: None,
            version: None,
            czxid: unknown,
            mzxid: unknown,
            pzxid: unknown,
            owner: None,
            created: None,
            deleted: None,
            complete: false,
            loose: false,
            by,
        }
    }

    fn created(place: Place, data: Arc<str>, owner: i64, by: By) -> Self {
        Scalars {
            presence: Presence::Present,
            data: Some(data),
            version: Some(0),
            czxid: place,
            mzxid: place,
            pzxid: place,
            owner: Some(owner),
            created: Some(0),
            deleted: Some(0),
            complete: true,
            loose: false,
            by: Some(by),
        }
    }

    /// Compares with what is known, and takes over what is not.
    fn learn(&mut self, stat: &Stat) -> Result<(), Why> {
        let places = [
            ("czxid", &mut self.czxid, stat.czxid),
            ("mzxid", &mut self.mzxid, stat.mzxid),
            ("pzxid", &mut self.pzxid, stat.pzxid),
        ];
        for (field, place, seen) in places {
            // Nobody knows when a mortal child went.
            if field == "pzxid" && self.loose {
                continue;
            }
            match *place {
                Place::At(is) if is != seen => return Err(Why::Zxid { field, is: *place, seen }),
                Place::Open(above, below) if !(above < seen && seen < below) => {
                    return Err(Why::Zxid { field, is: *place, seen });
                }
                _ => *place = Place::At(seen),
            }
        }
        match self.version {
            Some(is) if is != stat.version => return Err(Why::Version { is, seen: stat.version }),
            _ => self.version = Some(stat.version),
        }
        match self.owner {
            Some(is) if is != stat.ephemeral_owner => {
                return Err(Why::Owner { is, seen: stat.ephemeral_owner });
            }
            _ => self.owner = Some(stat.ephemeral_owner),
        }
        let (children, changes) = (i64::from(stat.num_children), i64::from(stat.cversion));
        if self.loose {
            return Ok(());
        }
        match (self.created, self.deleted) {
            (Some(created), Some(deleted)) if created + deleted != changes => {
                return Err(Why::Cversion { is: created + deleted, seen: changes });
            }
            (Some(created), Some(deleted)) if created - deleted != children => {
                return Err(Why::NumChildren { is: created - deleted, seen: children });
            }
            _ => {}
        }
        self.created = Some((changes + children) / 2);
        self.deleted = Some((changes - children) / 2);
        Ok(())
    }
}
