//! Access control lists, each stored once however many nodes have it: most trees have a handful of lists in all.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use zke_wire::Acl;

use crate::arena::{Arena, Slot};
use crate::codec::Put;
use crate::digest::Digest;

/// Names a list in the table. Local, like every slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AclRef(Slot);

impl AclRef {
    pub fn index(self) -> u32 {
        self.0.index()
    }
}

pub(crate) struct AclTable {
    lists: Arena<List>,
    // Looked up, never iterated.
    by_list: HashMap<Arc<[Acl]>, Slot, RandomState>,
}

struct List {
    acl: Arc<[Acl]>,
    digest: u64,
    /// Nodes that have it.
    nodes: u64,
}

impl AclTable {
    pub fn new() -> Self {
        Self { lists: Arena::new(), by_list: HashMap::default() }
    }

    pub fn get(&self, acl: AclRef) -> &Arc<[Acl]> {
        &self.lists[acl.0].acl
    }

    /// Of the list's content.
    pub fn digest(&self, acl: AclRef) -> u64 {
        self.lists[acl.0].digest
    }

    /// Counts one more node with this list.
    pub fn acquire(&mut self, acl: &[Acl]) -> AclRef {
        let slot = match self.by_list.get(acl) {
            Some(&slot) => slot,
            None => {
                let acl: Arc<[Acl]> = acl.into();
                let slot = self.lists.insert(List { acl: acl.clone(), digest: digest_of(&acl), nodes: 0 });
                self.by_list.insert(acl, slot);
                slot
            }
        };
        self.lists[slot].nodes += 1;
        AclRef(slot)
    }

    /// Counts one node less, and forgets a list that no node has.
    pub fn release(&mut self, acl: AclRef) {
        let list = &mut self.lists[acl.0];
        list.nodes -= 1;
        if list.nodes == 0 {
            let list = self.lists.remove(acl.0);
            self.by_list.remove(&list.acl);
        }
    }

    /// Every list with its index, in the order of indices.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &[Acl])> {
        (0..self.lists.end()).filter_map(|index| Some((index, &*self.lists.get(index)?.acl)))
    }
}

fn digest_of(acl: &[Acl]) -> u64 {
    let mut bytes = Vec::new();
    bytes.put_acl(acl);
    Digest::new(0).bytes(&bytes).value()
}

#[cfg(test)]
mod tests {
    use zke_wire::Id;

    use super::*;

    #[test]
    fn a_list_lives_as_long_as_a_node_has_it() {
        let mut table = AclTable::new();
        let other = [Acl { perms: 1, id: Id::new("ip", "::1") }];
        let first = table.acquire(&[Acl::open()]);
        assert_eq!(table.acquire(&[Acl::open()]), first);
        let second = table.acquire(&other);
        assert_ne!(table.digest(first), table.digest(second));
        table.release(first);
        assert_eq!(**table.get(first), [Acl::open()]);
        table.release(first);
        assert_eq!(table.iter().collect::<Vec<_>>(), [(second.index(), &other[..])]);
    }
}
