//! A point of persistence: a place in the sources where a program changes its disk.
//!
//! Nobody marks one. The changing methods of [`super::Disk`] and [`super::DiskFile`] know their caller, so every call of
//! one is a point by standing there. A simulated disk can be told at which of them to fail, and `server/sim` finds all
//! of them in the sources: one at which no test crashes makes a test fail.

use std::fmt;
use std::panic::Location;

/// Shown as `server/storage/src/log/writer.rs:161`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Point {
    /// From the root of the repository on.
    pub file: &'static str,
    pub line: u32,
}

impl Point {
    /// Where the function was called that asks, if that knows its caller.
    #[track_caller]
    pub(super) fn here() -> Point {
        let location = Location::caller();
        Point { file: location.file(), line: location.line() }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}
