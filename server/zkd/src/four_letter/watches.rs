//! `wchs`, `wchc` and `wchp`: who watches what here.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use crate::view::lists::{Listed, WatchSummary};

const WRITTEN: &str = "writing to a string cannot fail";

pub fn wchs(sum: WatchSummary) -> String {
    let WatchSummary { connections, paths, watches } = sum;
    format!("{connections} connections watching {paths} paths\nTotal watches:{watches}\n")
}

pub fn wchc(listed: &Listed<BTreeMap<i64, Vec<Arc<str>>>>) -> String {
    let mut text = String::new();
    for (session, paths) in &listed.entries {
        writeln!(text, "0x{session:x}").expect(WRITTEN);
        paths.iter().for_each(|path| writeln!(text, "\t{path}").expect(WRITTEN));
    }
    end(text, listed.cut())
}

pub fn wchp(listed: &Listed<BTreeMap<Arc<str>, Vec<i64>>>) -> String {
    let mut text = String::new();
    for (path, sessions) in &listed.entries {
        writeln!(text, "{path}").expect(WRITTEN);
        sessions.iter().for_each(|session| writeln!(text, "\t0x{session:x}").expect(WRITTEN));
    }
    end(text, listed.cut())
}

/// ZooKeeper ends these lists with an empty line.
fn end(mut text: String, cut: Option<String>) -> String {
    if let Some(cut) = cut {
        text.push_str(&cut);
        text.push('\n');
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::lists::MAX_ENTRIES;

    #[test]
    fn lists_are_as_in_java() {
        let paths: Vec<Arc<str>> = vec!["/a".into(), "/nope".into()];
        let by_session = Listed {
            entries: BTreeMap::from([(0x3_0000, paths.clone()), (0x4_0000, paths[..1].to_vec())]),
            total: 3,
        };
        assert_eq!(wchc(&by_session), "0x30000\n\t/a\n\t/nope\n0x40000\n\t/a\n\n");
        let by_path =
            Listed { entries: BTreeMap::from([(paths[0].clone(), vec![0x3_0000, 0x4_0000])]), total: 2 };
        assert_eq!(wchp(&by_path), "/a\n\t0x30000\n\t0x40000\n\n");
        let none: Listed<BTreeMap<i64, Vec<Arc<str>>>> = Listed { entries: BTreeMap::new(), total: 0 };
        assert_eq!(wchc(&none), "\n");
        let sum = WatchSummary { connections: 1, paths: 2, watches: 2 };
        assert_eq!(wchs(sum), "1 connections watching 2 paths\nTotal watches:2\n");
    }

    #[test]
    fn a_list_that_was_cut_says_so() {
        let cut: Listed<BTreeMap<i64, Vec<Arc<str>>>> =
            Listed { entries: BTreeMap::new(), total: MAX_ENTRIES + 1 };
        assert_eq!(wchc(&cut), "cut: the first 100000 of 100001\n\n");
    }
}
