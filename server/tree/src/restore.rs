//! The way back from a snapshot's bytes to a state.
//!
//! Every count, length and link is checked, and the digest of what came out must be the one that went in: a snapshot
//! that passes is the state it was made of.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};
use zke_wire::{Acl, SessionId, Zxid};

use crate::acl_table::AclTable;
use crate::arena::{Arena, Slot};
use crate::codec::{Malformed, Reader};
use crate::ids::{LogIndex, MemberId, Term};
use crate::level::NEWEST_APPLY_LEVEL;
use crate::marks::Marks;
use crate::node::{Extra, Node};
use crate::record::{self, Record};
use crate::session::{Session, Sessions};
use crate::snapshot::{FRAME_HEADER_LEN, VERSION, kind};
use crate::state::{Facts, State};
use crate::tree::Tree;

impl State {
    /// Reads a snapshot whose bytes come in pieces of any size.
    ///
    /// # Errors
    /// [`CorruptSnapshot`] unless the pieces are one whole snapshot.
    pub fn restore(chunks: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<State, CorruptSnapshot> {
        let mut reader = SnapshotReader::new();
        for chunk in chunks {
            reader.feed(chunk.as_ref())?;
        }
        reader.finish()
    }
}

/// Takes the bytes of a snapshot as they come. It holds the nodes read so far and one unfinished frame.
pub struct SnapshotReader {
    unread: BytesMut,
    /// Bytes before `unread`.
    offset: u64,
    /// The kind of the last frame.
    last: u8,
    facts: Option<Facts>,
    sessions: Sessions,
    marks: Marks,
    nodes: Nodes,
    /// Digest and number of nodes, from the last frame.
    promised: Option<(u64, u64)>,
}

impl SnapshotReader {
    pub fn new() -> Self {
        Self {
            unread: BytesMut::new(),
            offset: 0,
            last: 0,
            facts: None,
            sessions: Sessions::new(),
            marks: Marks::default(),
            nodes: Nodes::new(),
            promised: None,
        }
    }

    /// # Errors
    /// [`CorruptSnapshot`]; nothing more is to be fed then.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<(), CorruptSnapshot> {
        self.unread.extend_from_slice(chunk);
        while let Some((kind, body)) = self.next_frame() {
            let len = body.len();
            let body_at = self.offset + FRAME_HEADER_LEN as u64;
            self.frame(kind, body).map_err(|malformed| CorruptSnapshot::at(body_at, malformed))?;
            self.offset = body_at + len as u64;
        }
        Ok(())
    }

    /// # Errors
    /// [`CorruptSnapshot`] if bytes are missing, or do not make up the state they promise.
    pub fn finish(self) -> Result<State, CorruptSnapshot> {
        let offset = self.offset;
        let wrong = |what| CorruptSnapshot { what, offset };
        let (Some(facts), Some((digest, num_nodes)), true) =
            (self.facts, self.promised, self.unread.is_empty())
        else {
            return Err(wrong("end: it stops too early"));
        };
        let tree = self.nodes.into_tree().map_err(wrong)?;
        if tree.len() as u64 != num_nodes {
            return Err(wrong("number of nodes"));
        }
        let mut sessions = self.sessions;
        for (slot, owner) in tree.owned() {
            sessions.own(owner, slot);
        }
        let state = State::of_parts(tree, sessions, self.marks, facts);
        if state.digest() == digest { Ok(state) } else { Err(wrong("digest")) }
    }

    fn next_frame(&mut self) -> Option<(u8, Bytes)> {
        let header: [u8; FRAME_HEADER_LEN] = *self.unread.first_chunk()?;
        let [kind, len @ ..] = header;
        let end = FRAME_HEADER_LEN + u32::from_be_bytes(len) as usize;
        if self.unread.len() < end {
            return None;
        }
        Some((kind, self.unread.split_to(end).freeze().slice(FRAME_HEADER_LEN..)))
    }

    fn frame(&mut self, kind: u8, body: Bytes) -> Result<(), Malformed> {
        let mut from = Reader::new(body);
        let more_nodes = kind == kind::NODES && self.last == kind::NODES;
        let without_nodes = kind == kind::END && self.last == kind::ACLS;
        if kind != self.last + 1 && !more_nodes && !without_nodes {
            return Err(from.malformed("order of frames"));
        }
        self.last = kind;
        match kind {
            kind::HEADER => self.facts = Some(read_facts(&mut from)?),
            kind::SESSIONS => self.sessions = read_sessions(&mut from)?,
            kind::MARKS => self.marks = Marks::read(&mut from)?,
            kind::ACLS => self.nodes.read_acls(&mut from)?,
            kind::NODES => {
                while from.remaining() > 0 {
                    let record = record::read(&mut from)?;
                    self.nodes.push(record).map_err(|what| from.malformed(what))?;
                }
            }
            kind::END => self.promised = Some((from.u64("digest")?, from.u64("number of nodes")?)),
            _ => return Err(from.malformed("kind of frame")),
        }
        from.finish()
    }
}

impl Default for SnapshotReader {
    fn default() -> Self {
        Self::new()
    }
}

/// The bytes are no whole snapshot that this version can read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("restore a snapshot: bad {what} before byte {offset}; take another snapshot")]
pub struct CorruptSnapshot {
    pub what: &'static str,
    pub offset: u64,
}

impl CorruptSnapshot {
    fn at(body_at: u64, malformed: Malformed) -> Self {
        Self { what: malformed.what, offset: body_at + malformed.offset as u64 }
    }
}

/// Nodes on their way into a tree. They get new numbers without gaps, so that restoring gives memory back.
struct Nodes {
    lists: BTreeMap<u32, Vec<Acl>>,
    acls: AclTable,
    nodes: Arena<Node>,
    extras: Arena<Extra>,
    /// The number each node had, ascending: its place here is its new one.
    old_index: Vec<u32>,
    /// By new numbers, and naming old ones, since parents may come behind their children.
    old_parent: Vec<u32>,
}

impl Nodes {
    fn new() -> Self {
        Self {
            lists: BTreeMap::new(),
            acls: AclTable::new(),
            nodes: Arena::new(),
            extras: Arena::new(),
            old_index: Vec::new(),
            old_parent: Vec::new(),
        }
    }

    fn read_acls(&mut self, from: &mut Reader) -> Result<(), Malformed> {
        while from.remaining() > 0 {
            let index = from.varint_u32("acl index")?;
            self.lists.insert(index, from.acl()?);
        }
        Ok(())
    }

    fn push(&mut self, record: Record) -> Result<(), &'static str> {
        let is_root = self.old_index.is_empty();
        if self.old_index.last().is_some_and(|&last| record.index <= last) {
            return Err("order of nodes");
        }
        if is_root != record.parent.is_none()
            || is_root != record.name.is_empty()
            || record.name.contains('/')
        {
            return Err("parent or name of a node");
        }
        let acl = self.acls.acquire(self.lists.get(&record.acl).ok_or("acl of a node")?);
        let mut node = Node::new(&record.name, record.data.as_deref(), acl, record.czxid, record.ctime_ms);
        node.mzxid = record.mzxid;
        node.mtime_ms = record.mtime_ms;
        node.version = record.version;
        node.aversion = record.aversion;
        let extra =
            Extra { owner: record.owner, pzxid: record.pzxid, cversion: record.cversion, ..Extra::default() };
        if extra != Extra::of(&node) {
            node.extra = Some(self.extras.insert(extra));
        }
        self.nodes.insert(node);
        self.old_index.push(record.index);
        self.old_parent.push(record.parent.unwrap_or_default());
        Ok(())
    }

    fn into_tree(mut self) -> Result<Tree, &'static str> {
        if self.old_index.is_empty() {
            return Err("nodes: there is no root");
        }
        let slots: Vec<Slot> = (0..self.nodes.end()).filter_map(Slot::from_index).collect();
        for (&slot, &old_parent) in slots.iter().zip(&self.old_parent).skip(1) {
            self.nodes[slot].parent = Some(self.slot_of(old_parent).ok_or("parent of a node")?);
        }
        let mut tree = Tree::unlinked(self.nodes, self.extras, self.acls);
        for &slot in &slots[1..] {
            tree.link(slot)?;
        }
        tree.count_all()?;
        Ok(tree)
    }

    fn slot_of(&self, old_index: u32) -> Option<Slot> {
        // In a tree without gaps, which is the usual one, numbers stay.
        let new_index = match self.old_index.get(old_index as usize) {
            Some(&same) if same == old_index => old_index,
            _ => self.old_index.binary_search(&old_index).ok()? as u32,
        };
        Slot::from_index(new_index)
    }
}

fn read_facts(from: &mut Reader) -> Result<Facts, Malformed> {
    if from.u8("version")? != VERSION {
        return Err(from.malformed("version: it was made by a newer one"));
    }
    let apply_level = from.u32("apply level")?;
    if apply_level > NEWEST_APPLY_LEVEL {
        return Err(from.malformed("apply level: it was made by a newer version, run that or a later one"));
    }
    Ok(Facts {
        apply_level,
        zxid: Zxid(from.i64("zxid")?),
        applied: (LogIndex(from.u64("index")?), Term(from.u64("term")?)),
        now_ms: from.i64("time")?,
        serving: from.bool("serving")?,
        control_epoch: from.u64("control epoch")?,
        retired: {
            let count = from.count(8, "retired members")?;
            (0..count)
                .map(|_| from.u64("retired member").map(MemberId))
                .collect::<Result<BTreeSet<_>, _>>()?
        },
    })
}

fn read_sessions(from: &mut Reader) -> Result<Sessions, Malformed> {
    let mut sessions = Sessions::new();
    for _ in 0..from.count(32, "sessions")? {
        let id = SessionId(from.i64("session")?);
        let mut session = Session::new(id, from.array("password")?, from.i32("timeout")?);
        session.attach_epoch = from.u32("attach epoch")?;
        if sessions.get(id).is_some() {
            return Err(from.malformed("session: it is there twice"));
        }
        sessions.insert(session);
    }
    Ok(sessions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(index: u32, parent: Option<u32>, name: &str) -> Record {
        let data = None;
        let (czxid, mzxid, ctime_ms, mtime_ms, pzxid) = (1, 1, 1, 1, 1);
        let (version, aversion, owner, cversion, acl) = (0, 0, 0, 0, 5);
        let name = name.to_owned();
        Record {
            index,
            parent,
            acl,
            czxid,
            mzxid,
            ctime_ms,
            mtime_ms,
            version,
            aversion,
            owner,
            pzxid,
            cversion,
            name,
            data,
        }
    }

    fn tree_of(records: impl IntoIterator<Item = Record>) -> Result<Tree, &'static str> {
        let mut nodes = Nodes::new();
        nodes.lists.insert(5, vec![Acl::open()]);
        records.into_iter().try_for_each(|record| nodes.push(record))?;
        nodes.into_tree()
    }

    #[test]
    fn gaps_are_closed_and_parents_may_come_later() {
        let records = [record(0, None, ""), record(3, Some(9), "child"), record(9, Some(0), "parent")];
        let tree = tree_of(records).expect("a tree");
        let child = tree.find("/parent/child").expect("is there");
        assert_eq!(
            (tree.len(), tree.nodes.end(), tree.path_of(child.slot)),
            (3, 3, "/parent/child".to_owned())
        );
    }

    #[test]
    fn what_is_no_tree_is_refused() {
        let root = || record(0, None, "");
        let wrong = [
            (vec![], "nodes: there is no root"),
            (vec![record(0, Some(0), "a")], "parent or name of a node"),
            (vec![root(), record(1, None, "")], "parent or name of a node"),
            (vec![root(), record(1, Some(0), "")], "parent or name of a node"),
            (vec![root(), record(1, Some(0), "a/b")], "parent or name of a node"),
            (vec![root(), record(2, Some(0), "a"), record(2, Some(0), "b")], "order of nodes"),
            (vec![root(), record(1, Some(7), "a")], "parent of a node"),
            (vec![root(), Record { acl: 4, ..record(1, Some(0), "a") }], "acl of a node"),
            (vec![root(), record(1, Some(0), "a"), record(2, Some(0), "a")], "name: two children share it"),
            (
                vec![root(), record(1, Some(2), "a"), record(2, Some(1), "b")],
                "parents: they lead round in a circle",
            ),
        ];
        for (records, expected) in wrong {
            assert_eq!(tree_of(records).err(), Some(expected));
        }
    }

    #[test]
    fn frames_of_another_order_or_version_are_refused() {
        let refusal = |bytes: &[u8]| State::restore([bytes]).err().map(|error| error.what);
        assert_eq!(refusal(&[kind::SESSIONS, 0, 0, 0, 1, 0]), Some("order of frames"));
        assert_eq!(refusal(&[kind::HEADER, 0, 0, 0, 1, 9]), Some("version: it was made by a newer one"));
        assert_eq!(refusal(&[]), Some("end: it stops too early"));
    }
}
