//! DUR: the final dump holds what was acknowledged, unless something later undid it, and nothing that nobody wrote.

use std::collections::HashMap;

use crate::changes::{Change, Changes, What};
use crate::event::parent;
use crate::history::{Dump, History, Name, Node};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("lost: {write} was acknowledged, but {path} is not in the final dump")]
    Lost { write: Name, path: String },
    #[error("lost: {write} was acknowledged, but the final dump has {path} as of zxid {mzxid:#x}")]
    Older { write: Name, path: String, mzxid: i64 },
    #[error("{write} was acknowledged, but the final dump has other data in {path} at that zxid")]
    Data { write: Name, path: String },
    #[error("{write} was acknowledged, but {path} is in the final dump, created at zxid {czxid:#x}")]
    NotDeleted { write: Name, path: String, czxid: i64 },
    #[error("invented: the final dump has {path}, written at zxid {zxid:#x}, and nobody asked for that")]
    Invented { path: String, zxid: i64 },
    #[error("the final dump has {path} but not its parent")]
    Orphan { path: String },
}

pub(crate) fn check(history: &History, changes: &Changes) -> Vec<Fault> {
    let Some(dump) = &history.dump else { return Vec::new() };
    let nodes: HashMap<&str, &Node> = history.nodes.iter().map(|node| (node.path.as_str(), node)).collect();
    let mut paths: Vec<&String> = changes.paths().filter(|path| dump.covers(path)).collect();
    paths.sort_unstable();
    let mut faults: Vec<Fault> = paths
        .into_iter()
        .filter_map(|path| {
            let last = changes.of_path(path).rfind(|change| change.zxid <= dump.zxid)?;
            acknowledged(history, changes, last, nodes.get(path.as_str()).copied())
        })
        .collect();
    for node in history.nodes.iter().filter(|node| dump.covers(&node.path)) {
        faults.extend(invented(changes, node));
        let orphan =
            parent(&node.path).is_some_and(|parent| dump.covers(parent) && !nodes.contains_key(parent));
        faults.extend(orphan.then(|| Fault::Orphan { path: node.path.clone() }));
    }
    faults
}

fn acknowledged(history: &History, changes: &Changes, last: &Change, node: Option<&Node>) -> Option<Fault> {
    let write = || history.name(last.by);
    let path = || last.path.clone();
    match (&last.what, node) {
        (What::Deleted, Some(node)) if node.stat.czxid <= last.zxid || !changes.is_open(&last.path) => {
            Some(Fault::NotDeleted { write: write(), path: path(), czxid: node.stat.czxid })
        }
        (What::Deleted, _) => None,
        (_, None) if changes.is_open(&last.path) || changes.is_mortal(&last.path, last.zxid) => None,
        (_, None) => Some(Fault::Lost { write: write(), path: path() }),
        (_, Some(node)) if node.stat.mzxid < last.zxid => {
            Some(Fault::Older { write: write(), path: path(), mzxid: node.stat.mzxid })
        }
        (What::Created { data, .. } | What::Set { data }, Some(node)) => {
            let differs =
                node.stat.mzxid == last.zxid && node.data.as_ref().is_some_and(|found| found != data);
            differs.then(|| Fault::Data { write: write(), path: path() })
        }
    }
}

fn invented(changes: &Changes, node: &Node) -> Option<Fault> {
    let Node { path, stat, .. } = node;
    let is_known = |zxid: i64| {
        zxid < changes.base
            || changes.is_open(path)
            || changes.of_path(path).any(|change| change.zxid == zxid && change.what != What::Deleted)
    };
    let zxid = [stat.czxid, stat.mzxid].into_iter().find(|zxid| !is_known(*zxid))?;
    Some(Fault::Invented { path: path.clone(), zxid })
}

impl Dump {
    pub fn covers(&self, path: &str) -> bool {
        self.roots.iter().any(|root| {
            root == "/" && path.starts_with('/')
                || path
                    .strip_prefix(root.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }
}
