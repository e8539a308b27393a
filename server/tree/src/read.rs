//! What clients read, with their access checked.
//!
//! A bad path is a node that is not there, as in ZooKeeper. Reads arm no watches: see [`WatchTable`](crate::WatchTable).

use bytes::Bytes;
use zke_wire::{Acl, ErrorCode, Id, SessionId, Stat, perms};

use crate::acl;
use crate::state::State;
use crate::tree::Place;

/// Every read fails with `NoNode` if there is no node of that path, then with `NoAuth` if none of the identities may
/// read it.
impl State {
    /// A copy of the data; to write it out at once, take [`data`](Self::data).
    ///
    /// # Errors
    /// `NoNode`, `NoAuth`.
    pub fn get_data(&self, path: &str, identities: &[Id]) -> Result<(Option<Bytes>, Stat), ErrorCode> {
        let (data, stat) = self.data(path, identities)?;
        Ok((data.map(Bytes::copy_from_slice), stat))
    }

    /// The data in place.
    ///
    /// # Errors
    /// `NoNode`, `NoAuth`.
    pub fn data(&self, path: &str, identities: &[Id]) -> Result<(Option<&[u8]>, Stat), ErrorCode> {
        let place = self.readable(path, perms::READ, identities)?;
        Ok((self.tree.node(place).data(), self.tree.stat(place)))
    }

    /// # Errors
    /// `BadArguments` for a path with NUL, `NoNode`, `NoAuth`.
    pub fn exists(&self, path: &str, identities: &[Id]) -> Result<Stat, ErrorCode> {
        if path.contains('\0') {
            return Err(ErrorCode::BadArguments);
        }
        let place = self.readable(path, perms::READ, identities)?;
        Ok(self.tree.stat(place))
    }

    /// The names of the children, in no particular order.
    ///
    /// # Errors
    /// `NoNode`, `NoAuth`.
    pub fn get_children(&self, path: &str, identities: &[Id]) -> Result<(Vec<String>, Stat), ErrorCode> {
        let place = self.readable(path, perms::READ, identities)?;
        let stat = self.tree.stat(place);
        let mut names = Vec::with_capacity(stat.num_children as usize);
        names.extend(self.tree.children(place.slot).map(|slot| self.tree.nodes[slot].name().to_owned()));
        Ok((names, stat))
    }

    /// The node's list. Who may read but not administer the node sees names without password digests.
    ///
    /// # Errors
    /// `NoNode`, `NoAuth`.
    pub fn get_acl(&self, path: &str, identities: &[Id]) -> Result<(Vec<Acl>, Stat), ErrorCode> {
        let place = self.readable(path, perms::READ | perms::ADMIN, identities)?;
        let list = self.tree.acl(place);
        let administers = acl::allows(list, perms::ADMIN, identities);
        let shown = if administers { list.to_vec() } else { acl::masked(list) };
        Ok((shown, self.tree.stat(place)))
    }

    /// How many nodes there are below, at any depth. It walks them all, but for the root.
    ///
    /// # Errors
    /// `NoNode`, `NoAuth`.
    pub fn all_children_number(&self, path: &str, identities: &[Id]) -> Result<usize, ErrorCode> {
        let place = self.readable(path, perms::READ, identities)?;
        if place == self.tree.root() {
            return Ok(self.tree.len() - 1);
        }
        Ok(self.tree.descendants(place.slot))
    }

    /// Paths of a session's ephemerals that begin with `prefix`, in order: a text, not a parent. No list keeps a session
    /// from its own.
    pub fn ephemerals(&self, session: SessionId, prefix: &str) -> Vec<String> {
        let paths = self.ephemerals_of(session).filter(|path| path.starts_with(prefix));
        let mut paths: Vec<String> = paths.collect();
        paths.sort_unstable();
        paths
    }

    /// The same one by one, in an order that means nothing, for whoever does not want them all.
    pub fn ephemerals_of(&self, session: SessionId) -> impl Iterator<Item = String> {
        let slots = self.sessions.get(session).into_iter().flat_map(|session| &session.ephemerals);
        slots.map(|&slot| self.tree.path_of(slot))
    }

    /// As ZooKeeper counts znodes: the root twice, so a fresh server has 5.
    pub fn node_count(&self) -> usize {
        self.tree.len() + 1
    }

    pub fn ephemerals_count(&self) -> usize {
        self.tree.ephemerals()
    }

    /// Bytes of all paths and all data; 44 on a fresh server.
    pub fn approximate_data_size(&self) -> u64 {
        self.tree.size_bytes()
    }

    fn readable(&self, path: &str, needed: i32, identities: &[Id]) -> Result<Place, ErrorCode> {
        let place = self.tree.find(path).ok_or(ErrorCode::NoNode)?;
        acl::check(self.tree.acl(place), needed, identities)?;
        Ok(place)
    }
}
