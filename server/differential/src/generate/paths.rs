//! Which nodes a program is about.

use rand::Rng as _;
use rand::seq::IndexedRandom as _;

use super::{Maker, Theme};

/// Few enough that clients meet.
const NAMES: [&str; 5] = ["a", "a", "b", "b", "c"];

/// What may stand behind the root and is no path, or only seems to be none. Nothing beyond the basic plane, which is
/// written in two ways.
const ODD: [&str; 25] = [
    "/",
    "/a/",
    "//",
    "//a",
    "/a//b",
    "/.",
    "/..",
    "/./a",
    "/a/../b",
    "/.a",
    "/...",
    "/a b",
    "/\0",
    "/\u{1}",
    "/\u{1f}",
    "/\u{7f}",
    "/\u{9f}",
    "/\u{a0}",
    "/\u{d7ff}",
    "/\u{e000}",
    "/\u{f8ff}",
    "/\u{f900}",
    "/\u{ffef}",
    "/\u{fff0}",
    "/ü/日本",
];

/// Elsewhere, and not there.
const ELSEWHERE: [&str; 4] = ["x", "a/b", "/zookeeper/quota/x/y", "/no/such/node"];

/// Nodes that are always there. Nothing but creating and deleting them is tried, which fails: what is in them is for all
/// programs together.
const UNDELETABLE: [&str; 5] = ["", "/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"];

impl Maker<'_> {
    /// Of any node that may be read or changed.
    pub fn path(&mut self) -> String {
        let root = self.root;
        match self.random.random_range(0..40) {
            0..2 => root.to_owned(),
            2..4 => format!("{}/s{:010}", self.ordinary(), self.random.random_range(0..4)),
            4 => format!("{root}/s{:010}", self.random.random_range(0..4)),
            5 => format!("{root}{}", ODD.choose(&mut self.random).unwrap_or(&"")),
            6 if self.random.random_ratio(1, 3) => {
                (*ELSEWHERE.choose(&mut self.random).unwrap_or(&"x")).to_owned()
            }
            _ => self.ordinary(),
        }
    }

    /// Of what is to be created or deleted.
    pub fn target(&mut self) -> String {
        match self.random.random_range(0..60) {
            0 => (*UNDELETABLE.choose(&mut self.random).unwrap_or(&"/")).to_owned(),
            1..7 => format!("{}/s", self.ordinary()),
            _ => self.path(),
        }
    }

    pub fn ordinary(&mut self) -> String {
        let mut path = self.root.to_owned();
        let depth = *[1, 1, 1, 1, 2, 2, 2, 3].choose(&mut self.random).unwrap_or(&1);
        for _ in 0..depth {
            path.push('/');
            path.push_str(NAMES.choose(&mut self.random).unwrap_or(&"a"));
        }
        path
    }

    /// To be looked at. Whoever writes there what is no quota ends ZooKeeper's process with the next change.
    pub fn quota_or(&mut self, path: String) -> String {
        if self.theme != Theme::Quota || self.random.random_ratio(1, 2) {
            return path;
        }
        let node = *["", "/zookeeper_stats", "/zookeeper_stats", "/zookeeper_limits"]
            .choose(&mut self.random)
            .unwrap_or(&"");
        format!("/zookeeper/quota{}{node}", self.root)
    }
}
