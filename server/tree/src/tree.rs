//! The znodes: an arena of nodes, the table that finds children, and what is counted while they change.
//!
//! Every change keeps the digest and hands the node as it was to a running snapshot. Nothing here checks access,
//! versions or names: that is for those who call.

use std::collections::BTreeSet;
use std::iter;
use std::sync::Arc;

use zke_wire::{Acl, SessionId, Stat, Zxid};

use crate::acl_table::AclTable;
use crate::arena::{Arena, Slot};
use crate::capture::Capture;
use crate::child_table::ChildTable;
use crate::digest::Digest;
use crate::node::{Extra, Node, Written};
use crate::owner::Owner;
use crate::record;

pub(crate) struct Tree {
    pub nodes: Arena<Node>,
    pub extras: Arena<Extra>,
    pub acls: AclTable,
    pub capture: Capture,
    children: ChildTable,
    ephemerals: usize,
    /// Containers and TTL nodes, which may have to go.
    transient: BTreeSet<Slot>,
    size_bytes: u64,
    digest: u64,
}

/// A node that was found, with what its path adds to counts and digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub slot: Slot,
    path_hash: u64,
    path_len: usize,
}

impl Place {
    const ROOT: Place = Place { slot: Slot::FIRST, path_hash: 0, path_len: 0 };

    fn child(self, slot: Slot, name: &str) -> Place {
        let path_hash = Digest::new(self.path_hash).bytes(name.as_bytes()).value();
        Place { slot, path_hash, path_len: self.path_len + 1 + name.len() }
    }
}

/// The node that a create makes.
pub(crate) struct NewNode<'a> {
    pub name: &'a str,
    pub data: Option<&'a [u8]>,
    pub acl: &'a [Acl],
    pub owner: Owner,
    pub zxid: Zxid,
    pub time_ms: i64,
}

/// A node that was taken out.
pub(crate) struct Removed {
    node: Node,
    extra: Option<Extra>,
}

impl Removed {
    /// That of an ephemeral.
    pub fn session(&self) -> Option<SessionId> {
        self.extra.as_ref().and_then(|extra| extra.owner().session())
    }
}

impl Tree {
    /// The root alone, at zxid 0 and time 0, with empty data and open to everyone.
    pub fn new() -> Self {
        let mut tree = Self::unlinked(Arena::new(), Arena::new(), AclTable::new());
        let acl = tree.acls.acquire(&[Acl::open()]);
        tree.nodes.insert(Node::new("", Some(b""), acl, 0, 0));
        tree.count_in(Place::ROOT);
        tree
    }

    /// Takes nodes that know their parents, but that no table and no digest knows yet. See `link` and `count_in`.
    pub fn unlinked(nodes: Arena<Node>, extras: Arena<Extra>, acls: AclTable) -> Self {
        Self {
            nodes,
            extras,
            acls,
            capture: Capture::default(),
            children: ChildTable::new(),
            ephemerals: 0,
            transient: BTreeSet::new(),
            // The path of the root.
            size_bytes: 1,
            digest: 0,
        }
    }

    pub fn root(&self) -> Place {
        Place::ROOT
    }

    /// Nodes, the root included.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn ephemerals(&self) -> usize {
        self.ephemerals
    }

    /// Bytes of all paths and all data.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Of every node's path, data, stat and list.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// As ZooKeeper looks a path up: any text may be asked for, what is no path is simply not there, and the empty
    /// one names the root.
    pub fn find(&self, path: &str) -> Option<Place> {
        if path.is_empty() || path == "/" {
            return Some(Place::ROOT);
        }
        path.strip_prefix('/')?.split('/').try_fold(Place::ROOT, |parent, name| self.child(parent, name))
    }

    /// None for the root, which has no parent.
    pub fn find_with_parent(&self, path: &str) -> Option<(Place, Place)> {
        let (parent, name) = path.rsplit_once('/')?;
        let parent = self.find(parent)?;
        Some((parent, self.child(parent, name)?))
    }

    pub fn child(&self, parent: Place, name: &str) -> Option<Place> {
        self.children.find(&self.nodes, parent.slot, name).map(|slot| parent.child(slot, name))
    }

    pub fn node(&self, place: Place) -> &Node {
        &self.nodes[place.slot]
    }

    /// Stored, or as a node has it that needs none.
    pub fn extra(&self, slot: Slot) -> Extra {
        self.extra_of(&self.nodes[slot])
    }

    pub fn extra_of(&self, node: &Node) -> Extra {
        node.extra.map_or_else(|| Extra::of(node), |extra| self.extras[extra].clone())
    }

    pub fn acl(&self, place: Place) -> &Arc<[Acl]> {
        self.acls.get(self.node(place).acl)
    }

    pub fn stat(&self, place: Place) -> Stat {
        let node = self.node(place);
        let extra = self.extra(place.slot);
        let (created, present) = (extra.cversion as i32, extra.num_children as i32);
        Stat {
            czxid: Zxid(node.czxid),
            mzxid: Zxid(node.mzxid),
            ctime_ms: node.ctime_ms,
            mtime_ms: node.mtime_ms,
            version: node.version,
            // Creations plus deletions.
            cversion: created.wrapping_mul(2).wrapping_sub(present),
            aversion: node.aversion,
            // Clients are not told of containers and TTLs.
            ephemeral_owner: extra.owner().session().map_or(0, |session| session.0),
            data_length: node.data_len() as i32,
            num_children: present,
            pzxid: Zxid(extra.pzxid),
        }
    }

    /// The youngest first, until a snapshot is restored: ZooKeeper promises no order.
    pub fn children(&self, parent: Slot) -> impl Iterator<Item = Slot> {
        let next = |&slot: &Slot| self.nodes[slot].next_sibling;
        iter::successors(self.extra(parent).first_child, next)
    }

    /// How many nodes there are below this one, at any depth.
    pub fn descendants(&self, slot: Slot) -> usize {
        let mut waiting = vec![slot];
        let mut count = 0;
        while let Some(parent) = waiting.pop() {
            let before = waiting.len();
            waiting.extend(self.children(parent));
            count += waiting.len() - before;
        }
        count
    }

    pub fn path_of(&self, slot: Slot) -> String {
        let ancestors = iter::successors(Some(slot), |&slot| self.nodes[slot].parent);
        let mut names: Vec<&str> = ancestors.map(|slot| self.nodes[slot].name()).collect();
        if names.len() == 1 {
            return "/".to_owned();
        }
        names.reverse();
        names.join("/")
    }

    /// The parent must have no child of that name. It learns of this one: cversion, pzxid, number of children.
    pub fn insert(&mut self, parent: Place, new: &NewNode<'_>) -> Place {
        self.change_extra(parent, |extra| {
            extra.cversion += 1;
            extra.pzxid = new.zxid.0;
        });
        self.adopt(parent, new)
    }

    /// As [`insert`](Self::insert), for the nodes that are there from the beginning: cversion and pzxid stay.
    pub fn adopt(&mut self, parent: Place, new: &NewNode<'_>) -> Place {
        let acl = self.acls.acquire(new.acl);
        let mut node = Node::new(new.name, new.data, acl, new.zxid.0, new.time_ms);
        node.parent = Some(parent.slot);
        if new.owner != Owner::Nobody {
            let extra = Extra { owner: new.owner.stored(), ..Extra::of(&node) };
            node.extra = Some(self.extras.insert(extra));
        }
        self.place(parent, node, new.name)
    }

    /// The node must have no children. Its parent learns of it: pzxid, number of children.
    pub fn remove(&mut self, parent: Place, place: Place, zxid: Zxid) -> Removed {
        self.keep_for_snapshot(place.slot);
        self.count_out(place);
        self.unlink(parent.slot, place.slot);
        self.change_extra(parent, |extra| extra.pzxid = zxid.0);
        let node = self.nodes.remove(place.slot);
        self.acls.release(node.acl);
        let extra = node.extra.map(|extra| self.extras.remove(extra));
        Removed { node, extra }
    }

    /// Undoes a removal, but for what the parent learnt of it: see [`put_back_extra`](Self::put_back_extra). The node
    /// may get another slot, and another place among its siblings.
    pub fn put_back(&mut self, parent: Place, removed: Removed, acl: &[Acl]) -> Place {
        let Removed { mut node, extra } = removed;
        node.acl = self.acls.acquire(acl);
        node.extra = extra.map(|extra| self.extras.insert(extra));
        (node.parent, node.previous_sibling) = (Some(parent.slot), None);
        let name = node.name().to_owned();
        self.place(parent, node, &name)
    }

    /// Undoes what a node learnt when a child was created or removed. `before` is its [`extra`](Self::extra) of then.
    pub fn put_back_extra(&mut self, place: Place, before: &Extra) {
        self.change_extra(place, |extra| {
            extra.cversion = before.cversion;
            extra.pzxid = before.pzxid;
        });
    }

    /// Returns what to [`put back`](Self::replace_written) to undo it.
    pub fn set_data(&mut self, place: Place, data: Option<&[u8]>, zxid: Zxid, time_ms: i64) -> Written {
        let new = self.node(place).next_written(data, zxid.0, time_ms);
        self.replace_written(place, new)
    }

    /// As [`set_data`](Self::set_data), at a version of the caller's.
    pub fn set_data_at(&mut self, place: Place, version: i32, data: &[u8], zxid: Zxid, time_ms: i64) {
        let new = self.node(place).written_at(version, Some(data), zxid.0, time_ms);
        self.replace_written(place, new);
    }

    /// As [`set_data`](Self::set_data), of what no client wrote: the version and all times stay.
    pub fn refill(&mut self, place: Place, data: &[u8]) -> Written {
        let new = self.node(place).refilled(data);
        self.replace_written(place, new)
    }

    pub fn replace_written(&mut self, place: Place, new: Written) -> Written {
        self.keep_for_snapshot(place.slot);
        self.count_out(place);
        let before = self.nodes[place.slot].replace_written(new);
        self.count_in(place);
        before
    }

    /// Only aversion rises: neither mzxid nor mtime tells of it, in ZooKeeper neither.
    pub fn set_acl(&mut self, place: Place, acl: &[Acl]) {
        let aversion = self.node(place).aversion.wrapping_add(1);
        self.replace_acl(place, acl, aversion);
    }

    pub fn replace_acl(&mut self, place: Place, acl: &[Acl], aversion: i32) {
        self.keep_for_snapshot(place.slot);
        self.digest = self.digest.wrapping_sub(self.stat_digest(place));
        let acl = self.acls.acquire(acl);
        let node = &mut self.nodes[place.slot];
        self.acls.release(std::mem::replace(&mut node.acl, acl));
        node.aversion = aversion;
        self.digest = self.digest.wrapping_add(self.stat_digest(place));
    }

    /// Every ephemeral with its session.
    pub fn owned(&self) -> impl Iterator<Item = (Slot, SessionId)> {
        let slots = (0..self.nodes.end()).filter_map(Slot::from_index);
        slots.filter_map(|slot| {
            let owner = self.extra_of(self.nodes.get(slot.index())?).owner();
            Some((slot, owner.session()?))
        })
    }

    /// The containers and TTL nodes that are due to go.
    pub fn outlived(&self, now_ms: i64) -> impl Iterator<Item = Slot> {
        self.transient.iter().copied().filter(move |slot| self.is_outlived(*slot, now_ms))
    }

    /// Whether a container lost its last child, or a TTL node without children was not written to for long enough. A
    /// container that never had a child waits for its first one.
    pub fn is_outlived(&self, slot: Slot, now_ms: i64) -> bool {
        let (node, extra) = (&self.nodes[slot], self.extra(slot));
        extra.num_children == 0
            && match extra.owner() {
                Owner::Container => extra.cversion > 0,
                Owner::Ttl { ttl_ms } => now_ms.saturating_sub(node.mtime_ms) > ttl_ms,
                Owner::Nobody | Owner::Session(_) => false,
            }
    }

    /// Makes an unlinked node the child of the parent it names.
    ///
    /// # Errors
    /// If that has a child of its name.
    pub fn link(&mut self, slot: Slot) -> Result<(), &'static str> {
        let node = &self.nodes[slot];
        let parent = node.parent.ok_or("parent: a second root")?;
        if self.children.find(&self.nodes, parent, node.name()).is_some() {
            return Err("name: two children share it");
        }
        self.attach(slot, parent);
        Ok(())
    }

    /// Adds linked nodes to counts and digest, all at once.
    ///
    /// # Errors
    /// If some are on no path from the root.
    pub fn count_all(&mut self) -> Result<(), &'static str> {
        let mut found = 0;
        let mut waiting = vec![Place::ROOT];
        while let Some(place) = waiting.pop() {
            self.count_in(place);
            found += 1;
            waiting.extend(self.children(place.slot).map(|slot| place.child(slot, self.nodes[slot].name())));
        }
        if found == self.len() { Ok(()) } else { Err("parents: they lead round in a circle") }
    }

    /// Gives a node that names its parent a slot, and adds it to everything.
    fn place(&mut self, parent: Place, node: Node, name: &str) -> Place {
        let slot = self.nodes.insert(node);
        self.capture.slot_filled(slot);
        self.attach(slot, parent.slot);
        let place = parent.child(slot, name);
        self.count_in(place);
        place
    }

    fn attach(&mut self, slot: Slot, parent: Slot) {
        self.children.insert(&self.nodes, slot);
        let extra = self.extra_mut(parent);
        extra.num_children += 1;
        let next = extra.first_child.replace(slot);
        self.nodes[slot].next_sibling = next;
        if let Some(next) = next {
            self.nodes[next].previous_sibling = Some(slot);
        }
    }

    /// Adds a node to counts and digest.
    fn count_in(&mut self, place: Place) {
        let node = self.node(place);
        self.size_bytes += (place.path_len + node.data_len()) as u64;
        match self.extra(place.slot).owner() {
            Owner::Nobody => {}
            Owner::Session(_) => self.ephemerals += 1,
            Owner::Container | Owner::Ttl { .. } => drop(self.transient.insert(place.slot)),
        }
        self.digest =
            self.digest.wrapping_add(self.content_digest(place)).wrapping_add(self.stat_digest(place));
    }

    fn count_out(&mut self, place: Place) {
        let node = self.node(place);
        self.size_bytes -= (place.path_len + node.data_len()) as u64;
        match self.extra(place.slot).owner() {
            Owner::Nobody => {}
            Owner::Session(_) => self.ephemerals -= 1,
            Owner::Container | Owner::Ttl { .. } => drop(self.transient.remove(&place.slot)),
        }
        self.digest =
            self.digest.wrapping_sub(self.content_digest(place)).wrapping_sub(self.stat_digest(place));
    }

    fn unlink(&mut self, parent: Slot, slot: Slot) {
        self.children.remove(&self.nodes, slot);
        let (previous, next) = (self.nodes[slot].previous_sibling, self.nodes[slot].next_sibling);
        let extra = self.extra_mut(parent);
        extra.num_children -= 1;
        if extra.first_child == Some(slot) {
            extra.first_child = next;
        }
        if let Some(previous) = previous {
            self.nodes[previous].next_sibling = next;
        }
        if let Some(next) = next {
            self.nodes[next].previous_sibling = previous;
        }
    }

    pub fn change_extra(&mut self, place: Place, change: impl FnOnce(&mut Extra)) {
        self.keep_for_snapshot(place.slot);
        self.digest = self.digest.wrapping_sub(self.stat_digest(place));
        change(self.extra_mut(place.slot));
        self.digest = self.digest.wrapping_add(self.stat_digest(place));
    }

    fn extra_mut(&mut self, slot: Slot) -> &mut Extra {
        let node = &mut self.nodes[slot];
        let extra = match node.extra {
            Some(extra) => extra,
            None => *node.extra.insert(self.extras.insert(Extra::of(node))),
        };
        &mut self.extras[extra]
    }

    /// To be called before a node is changed or removed.
    fn keep_for_snapshot(&mut self, slot: Slot) {
        if self.capture.wants(slot) {
            let image = record::image(slot, &self.nodes[slot], &self.extra(slot));
            self.capture.keep(slot, image);
        }
    }

    /// Apart from the rest, so that a new child does not mean to hash its parent's data.
    fn content_digest(&self, place: Place) -> u64 {
        let data = self.node(place).data();
        let digest = Digest::new(1).word(place.path_hash).word(data.is_some().into());
        digest.bytes(data.unwrap_or_default()).value()
    }

    fn stat_digest(&self, place: Place) -> u64 {
        let node = self.node(place);
        let extra = self.extra(place.slot);
        let versions = (u64::from(node.version as u32) << 32) | u64::from(node.aversion as u32);
        let times = [node.czxid, node.mzxid, extra.pzxid, node.ctime_ms, node.mtime_ms];
        let digest = Digest::new(2).word(place.path_hash).word(versions).word(self.acls.digest(node.acl));
        let digest = digest.signed(extra.cversion).signed(extra.owner);
        times.into_iter().fold(digest, Digest::signed).value()
    }
}
