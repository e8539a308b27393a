//! Point-in-time snapshots that do not stop writers: the bytes of the state as it was at [`State::snapshot_begin`],
//! made in small steps between applies.
//!
//! A snapshot is a sequence of frames: kind (u8), length of the body (u32), body. In this order: one `HEADER`, one
//! `SESSIONS`, one `MARKS`, one `ACLS`, any number of `NODES` with nodes in ascending order of their numbers, one `END`
//! with the digest of it all. Storage adds what a file needs: checksums, names, fsync.

use std::sync::Arc;

use bytes::BufMut;

use crate::capture::Before;
use crate::codec::Put;
use crate::record;
use crate::state::State;

pub(crate) const VERSION: u8 = 1;
/// Kind and length.
pub(crate) const FRAME_HEADER_LEN: usize = 5;

pub(crate) mod kind {
    pub const HEADER: u8 = 1;
    pub const SESSIONS: u8 = 2;
    pub const MARKS: u8 = 3;
    pub const ACLS: u8 = 4;
    pub const NODES: u8 = 5;
    pub const END: u8 = 6;
}

/// Slots looked at in one step: a tree that was large once has many empty ones, and passing over millions of them
/// would stop writers although hardly a byte comes of it.
const SLOTS_PER_STEP: usize = 65_536;

/// A snapshot being made. Dropping it ends it; what the state kept for it goes at its next change.
pub struct Snapshot {
    handle: Arc<()>,
    /// Everything but the nodes: small, and therefore written down at the beginning.
    head: Vec<u8>,
    head_taken: usize,
    digest: u64,
    num_nodes: u64,
    done: bool,
}

impl State {
    /// Begins a snapshot of the state as it is now. Copies the small tables; nodes are kept only as they change.
    ///
    /// # Panics
    /// If an earlier snapshot is neither done nor dropped: only one runs at a time.
    pub fn snapshot_begin(&mut self) -> Snapshot {
        let end = self.tree.nodes.end();
        Snapshot {
            handle: self.tree.capture.begin(end),
            head: self.snapshot_head(),
            head_taken: 0,
            digest: self.digest(),
            num_nodes: self.tree.len() as u64,
            done: false,
        }
    }

    /// Appends the next bytes to `out`: up to about `max_bytes`, beyond which goes at most one znode. True once the
    /// snapshot is whole.
    ///
    /// # Panics
    /// If `snapshot` was begun by another state.
    pub fn snapshot_next(&mut self, snapshot: &mut Snapshot, out: &mut Vec<u8>, max_bytes: usize) -> bool {
        if snapshot.done {
            return true;
        }
        assert!(
            self.tree.capture.belongs_to(&snapshot.handle),
            "a snapshot is continued by the state that began it"
        );
        let limit = out.len().saturating_add(max_bytes.max(1));
        let head = &snapshot.head[snapshot.head_taken..];
        let taken = head.len().min(limit - out.len());
        out.extend_from_slice(&head[..taken]);
        snapshot.head_taken += taken;
        if out.len() >= limit || !self.put_nodes(out, limit) {
            return false;
        }
        put_frame(out, kind::END, |body| {
            body.put_u64(snapshot.digest);
            body.put_u64(snapshot.num_nodes);
        });
        self.tree.capture.end();
        snapshot.done = true;
        true
    }

    /// Bytes kept for the running snapshot because nodes changed before it came to them. When this grows, take larger
    /// steps.
    pub fn snapshot_held_bytes(&self) -> usize {
        self.tree.capture.held_bytes()
    }

    /// True once there is no node left to put.
    fn put_nodes(&mut self, out: &mut Vec<u8>, limit: usize) -> bool {
        let start = out.len();
        let mut finished = false;
        put_frame(out, kind::NODES, |body| {
            // One at least: the frame's header alone may be beyond the limit.
            for _ in 0..SLOTS_PER_STEP {
                finished = !self.put_next_node(body);
                if finished || body.len() >= limit {
                    break;
                }
            }
        });
        if out.len() == start + FRAME_HEADER_LEN {
            out.truncate(start);
        }
        finished
    }

    fn put_next_node(&mut self, out: &mut Vec<u8>) -> bool {
        let tree = &mut self.tree;
        let Some((index, before)) = tree.capture.step() else { return false };
        match before {
            Some(Before::Node(image)) => out.extend_from_slice(&image),
            Some(Before::Empty) => {}
            None => {
                if let Some(node) = tree.nodes.get(index) {
                    record::write(out, index, node, &tree.extra_of(node));
                }
            }
        }
        true
    }

    fn snapshot_head(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_frame(&mut out, kind::HEADER, |body| self.put_facts(body));
        put_frame(&mut out, kind::SESSIONS, |body| {
            body.put_varint(self.sessions.len() as u64);
            for session in self.sessions.iter() {
                body.put_i64(session.id.0);
                body.put_slice(&session.password);
                body.put_i32(session.timeout_ms);
                body.put_u32(session.attach_epoch);
            }
        });
        put_frame(&mut out, kind::MARKS, |body| self.marks.write(body));
        put_frame(&mut out, kind::ACLS, |body| {
            for (index, acl) in self.tree.acls.iter() {
                body.put_varint(index.into());
                body.put_acl(acl);
            }
        });
        out
    }

    fn put_facts(&self, out: &mut Vec<u8>) {
        let facts = &self.facts;
        out.put_u8(VERSION);
        out.put_u32(facts.apply_level);
        out.put_i64(facts.zxid.0);
        out.put_u64(facts.applied.0.0);
        out.put_u64(facts.applied.1.0);
        out.put_i64(facts.now_ms);
        out.put_u8(facts.serving.into());
        out.put_u64(facts.control_epoch);
        out.put_varint(facts.retired.len() as u64);
        for member in &facts.retired {
            out.put_u64(member.0);
        }
    }
}

fn put_frame(out: &mut Vec<u8>, kind: u8, put_body: impl FnOnce(&mut Vec<u8>)) {
    out.put_u8(kind);
    let len_at = out.len();
    out.put_u32(0);
    put_body(out);
    let len =
        u32::try_from(out.len() - len_at - 4).expect("a frame holds one small table or one step's nodes");
    out[len_at..len_at + 4].copy_from_slice(&len.to_be_bytes());
}
