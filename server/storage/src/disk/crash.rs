//! A real process that ends at a point of persistence, for tests: `ZKE_CRASH_AT=FILE:LINE` in its environment, or
//! `FILE:LINE:N` for the Nth time that it comes there.
//!
//! It ends as a kill would end it, just before the change. Compiled only with the feature `fault`, which no program that
//! is shipped has, and silent unless it is asked.

use std::env;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Point;

#[cfg(not(debug_assertions))]
compile_error!("the feature `fault` is for tests: it must not be in a program without debug assertions");

struct Asked {
    file: String,
    line: u32,
    hits: u64,
}

/// To be called by every change of a real disk, with its point.
pub(super) fn reached(point: Point) {
    static ASKED: OnceLock<Option<Asked>> = OnceLock::new();
    static HITS: AtomicU64 = AtomicU64::new(0);
    let asked = ASKED.get_or_init(|| {
        let text = env::var("ZKE_CRASH_AT").ok()?;
        let asked = parse(&text);
        assert!(asked.is_some(), "ZKE_CRASH_AT is FILE:LINE or FILE:LINE:N, and not {text}");
        asked
    });
    if let Some(Asked { file, line, hits }) = asked
        && (*line, file.as_str()) == (point.line, point.file)
        && HITS.fetch_add(1, Relaxed) + 1 == *hits
    {
        eprintln!("ends at {point}, as it was asked to");
        std::process::abort();
    }
}

fn parse(text: &str) -> Option<Asked> {
    let mut parts = text.split(':');
    let (file, line) = (parts.next()?.to_owned(), parts.next()?.parse().ok()?);
    let hits = parts.next().map_or(Some(1), |hits| hits.parse().ok())?;
    parts.next().is_none().then_some(Asked { file, line, hits })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_a_line_and_a_number() {
        let parsed = |text| parse(text).map(|Asked { file, line, hits }| (file, line, hits));
        assert_eq!(parsed("a/b.rs:7"), Some(("a/b.rs".to_owned(), 7, 1)));
        assert_eq!(parsed("a/b.rs:7:3"), Some(("a/b.rs".to_owned(), 7, 3)));
        for wrong in ["", "a/b.rs", "a/b.rs:x", "a/b.rs:7:x", "a/b.rs:7:3:1"] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }
}
