//! (parent, name) -> child: one hash table for the whole tree, at some 8 bytes a node.
//!
//! It holds slots only; names are compared in the nodes. Never iterated: children are listed along their sibling
//! links, so the random seed, which keeps clients from choosing names that collide, influences no result.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::arena::{Arena, Slot};
use crate::node::Node;

/// A table that grows hashes all its names again. Of ten million, that takes a second, during which nothing is
/// applied; of one in 256 of them, some milliseconds.
const SHARDS: usize = 256;

pub(crate) struct ChildTable {
    shards: Vec<HashTable<Slot>>,
    hasher: RandomState,
}

impl ChildTable {
    pub fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| HashTable::new()).collect(), hasher: RandomState::default() }
    }

    pub fn find(&self, nodes: &Arena<Node>, parent: Slot, name: &str) -> Option<Slot> {
        let hash = hash(&self.hasher, parent, name.as_bytes());
        let shard = &self.shards[shard_of(hash)];
        let is_it = |&slot: &Slot| {
            let node = &nodes[slot];
            node.parent == Some(parent) && node.name_bytes() == name.as_bytes()
        };
        shard.find(hash, is_it).copied()
    }

    /// `child` must have its parent set, and that parent no child of its name.
    pub fn insert(&mut self, nodes: &Arena<Node>, child: Slot) {
        let Self { shards, hasher } = self;
        let rehash = |&slot: &Slot| hash_of(hasher, &nodes[slot]);
        let hash = rehash(&child);
        shards[shard_of(hash)].insert_unique(hash, child, rehash);
    }

    pub fn remove(&mut self, nodes: &Arena<Node>, child: Slot) {
        let hash = hash_of(&self.hasher, &nodes[child]);
        let entry = self.shards[shard_of(hash)].find_entry(hash, |&slot| slot == child);
        entry.expect("every linked node is in the table").remove();
    }
}

fn hash_of(hasher: &RandomState, node: &Node) -> u64 {
    hash(hasher, node.parent.expect("the root is in no table"), node.name_bytes())
}

fn hash(hasher: &RandomState, parent: Slot, name: &[u8]) -> u64 {
    hasher.hash_one((parent, name))
}

/// From bits in the middle: tables use the lowest to choose a bucket and the highest to tag it.
fn shard_of(hash: u64) -> usize {
    (hash >> 32) as usize % SHARDS
}
