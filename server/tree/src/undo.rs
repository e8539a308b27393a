//! How a multi that fails leaves nothing behind: each of its changes remembers what takes it back.
//!
//! Taken back in the reverse of their order, changes leave a tree that reads and digests as before; a running snapshot
//! sees the ways there and back as ordinary changes. Slots and the order among siblings may be others, which no result
//! depends on. Events are not its business.

use std::sync::Arc;

use zke_wire::{Acl, Zxid};

use crate::node::{Extra, Written};
use crate::session::Sessions;
use crate::tree::{Removed, Tree};

/// One change, and what was there before it. Nodes are named by path, since slots may change on the way back.
pub(crate) enum Undo {
    Create { path: String, parent: Extra },
    Delete { path: String, parent: Extra, node: Removed, acl: Arc<[Acl]> },
    SetData { path: String, before: Written },
}

/// Why the nodes of an undo are found.
const AS_IT_WAS: &str = "every later change was taken back";

impl Undo {
    /// To be called when every change after this one is taken back.
    pub fn take_back(self, tree: &mut Tree, sessions: &mut Sessions) {
        match self {
            Self::Create { path, parent: before } => {
                let (parent, place) = tree.find_with_parent(&path).expect(AS_IT_WAS);
                let removed = tree.remove(parent, place, Zxid(before.pzxid));
                if let Some(session) = removed.session() {
                    sessions.disown(session, place.slot);
                }
                tree.put_back_extra(parent, &before);
            }
            Self::Delete { path, parent: before, node, acl } => {
                let parent = zke_wire::path::parent(&path).and_then(|parent| tree.find(parent));
                let parent = parent.expect(AS_IT_WAS);
                let session = node.session();
                let place = tree.put_back(parent, node, &acl);
                if let Some(session) = session {
                    sessions.own(session, place.slot);
                }
                tree.put_back_extra(parent, &before);
            }
            Self::SetData { path, before } => {
                let place = tree.find(&path).expect(AS_IT_WAS);
                tree.replace_written(place, before);
            }
        }
    }
}
