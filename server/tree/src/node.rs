//! One znode in memory, in 80 bytes and its own name and data.
//!
//! Most znodes are persistent and never have children; what only the others need stands apart, in [`Extra`].

use std::mem;

use crate::acl_table::AclRef;
use crate::arena::Slot;
use crate::owner::Owner;

pub(crate) struct Node {
    pub czxid: i64,
    pub mzxid: i64,
    pub ctime_ms: i64,
    pub mtime_ms: i64,
    pub version: i32,
    pub aversion: i32,
    pub acl: AclRef,
    pub extra: Option<Slot>,
    /// None for the root alone.
    pub parent: Option<Slot>,
    pub next_sibling: Option<Slot>,
    pub previous_sibling: Option<Slot>,
    /// The length of the name in `content`; the highest bit says that there is data, if only empty data.
    name_len: u32,
    /// The name, then the data: one allocation for both.
    content: Box<[u8]>,
}

/// What a node has besides if it has an owner or has ever had a child.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Extra {
    /// As [`Owner`](crate::owner::Owner) stores it.
    pub owner: i64,
    /// The zxid of the last creation or deletion of a child.
    pub pzxid: i64,
    /// Children ever created. The names of sequential nodes carry it. ZooKeeper keeps 32 bits and fails for ever
    /// behind 2^31; clients see the low 32 here, and names go on.
    pub cversion: i64,
    pub num_children: u32,
    pub first_child: Option<Slot>,
}

impl Extra {
    pub fn owner(&self) -> Owner {
        Owner::from_stored(self.owner)
    }

    /// Of a node that needed none until now.
    pub fn of(node: &Node) -> Self {
        Self { pzxid: node.czxid, ..Self::default() }
    }
}

/// What a setData replaces in a node.
pub(crate) struct Written {
    mzxid: i64,
    mtime_ms: i64,
    version: i32,
    name_len: u32,
    content: Box<[u8]>,
}

const HAS_DATA: u32 = 1 << 31;

impl Node {
    /// A new node, not linked to any other, at version 0.
    pub fn new(name: &str, data: Option<&[u8]>, acl: AclRef, zxid: i64, time_ms: i64) -> Self {
        let (name_len, content) = pack(name, data);
        Self {
            czxid: zxid,
            mzxid: zxid,
            ctime_ms: time_ms,
            mtime_ms: time_ms,
            version: 0,
            aversion: 0,
            acl,
            extra: None,
            parent: None,
            next_sibling: None,
            previous_sibling: None,
            name_len,
            content,
        }
    }

    pub fn name(&self) -> &str {
        let name = &self.content[..self.split()];
        std::str::from_utf8(name).expect("the name was packed from a str")
    }

    pub fn name_bytes(&self) -> &[u8] {
        &self.content[..self.split()]
    }

    pub fn data(&self) -> Option<&[u8]> {
        (self.name_len & HAS_DATA != 0).then(|| &self.content[self.split()..])
    }

    pub fn data_len(&self) -> usize {
        self.content.len() - self.split()
    }

    /// What the node would have written by a setData.
    pub fn next_written(&self, data: Option<&[u8]>, zxid: i64, time_ms: i64) -> Written {
        self.written_at(self.version.wrapping_add(1), data, zxid, time_ms)
    }

    /// The same, at a version of the caller's.
    pub fn written_at(&self, version: i32, data: Option<&[u8]>, zxid: i64, time_ms: i64) -> Written {
        let (name_len, content) = pack(self.name(), data);
        Written { mzxid: zxid, mtime_ms: time_ms, version, name_len, content }
    }

    /// Other data that no client wrote: the version and all times stay.
    pub fn refilled(&self, data: &[u8]) -> Written {
        let (name_len, content) = pack(self.name(), Some(data));
        Written { mzxid: self.mzxid, mtime_ms: self.mtime_ms, version: self.version, name_len, content }
    }

    /// Returns what was there before, which given back undoes it. Both must be of this node, since they hold its name.
    pub fn replace_written(&mut self, new: Written) -> Written {
        Written {
            mzxid: mem::replace(&mut self.mzxid, new.mzxid),
            mtime_ms: mem::replace(&mut self.mtime_ms, new.mtime_ms),
            version: mem::replace(&mut self.version, new.version),
            name_len: mem::replace(&mut self.name_len, new.name_len),
            content: mem::replace(&mut self.content, new.content),
        }
    }

    fn split(&self) -> usize {
        (self.name_len & !HAS_DATA) as usize
    }
}

/// Copies, since data that came with a proposal is a slice of it: a few bytes of data would keep all of it alive.
fn pack(name: &str, data: Option<&[u8]>) -> (u32, Box<[u8]>) {
    // Requests are shorter than 2^31 bytes: frames count them in an i32.
    let name_len =
        u32::try_from(name.len()).ok().filter(|len| len & HAS_DATA == 0).expect("names fit a frame");
    let content = [name.as_bytes(), data.unwrap_or_default()].concat().into_boxed_slice();
    (if data.is_some() { name_len | HAS_DATA } else { name_len }, content)
}

#[cfg(test)]
mod tests {
    use zke_wire::Acl;

    use super::*;
    use crate::acl_table::AclTable;

    /// With one slot of the child table (8 bytes at its usual load) and the allocator's header and rounding (16), a
    /// znode with a name of 16 bytes stays within 120 bytes beyond its data.
    #[test]
    fn a_node_is_small() {
        assert_eq!(size_of::<Option<Node>>(), 80);
        assert!(size_of::<Option<Extra>>() <= 40);
    }

    #[test]
    fn no_data_and_empty_data_differ() {
        let acl = AclTable::new().acquire(&[Acl::open()]);
        let mut node = Node::new("name", None, acl, 1, 2);
        let set_data = |node: &mut Node, data| node.replace_written(node.next_written(data, 3, 4));
        assert_eq!((node.name(), node.data(), node.data_len()), ("name", None, 0));
        set_data(&mut node, Some(b""));
        assert_eq!((node.name(), node.data(), node.data_len()), ("name", Some(&b""[..]), 0));
        let before = set_data(&mut node, Some(b"data"));
        assert_eq!((node.name(), node.data(), node.data_len()), ("name", Some(&b"data"[..]), 4));
        assert_eq!((node.version, node.mzxid, node.mtime_ms), (2, 3, 4));
        node.replace_written(before);
        assert_eq!((node.name(), node.data(), node.version), ("name", Some(&b""[..]), 1));
    }
}
