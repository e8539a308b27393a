//! The power goes off at every point of persistence, of one disk and in a whole ensemble.
//!
//! The list of points is read from the sources, so that one at which nothing here lets the power go off fails a test.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]

mod cut;
mod ensemble;
mod lives;
#[path = "../../../storage/tests/log/model.rs"]
#[allow(dead_code, reason = "the tests of the log use all of it")]
mod model;
mod sources;

use std::collections::BTreeSet;

#[test]
fn a_crash_at_every_point_of_persistence_is_survived_and_every_point_is_crashed_at() {
    let known = sources::in_sources().unwrap().unwrap_or_else(|refused| panic!("{}", refused.join("\n")));
    let cut = lives::cut_all();
    let listed = |points: BTreeSet<&String>| points.into_iter().cloned().collect::<Vec<_>>().join("\n");
    let missing = listed(known.difference(&cut).collect());
    assert!(
        missing.is_empty(),
        "no test lets the power go off at these points; give the life in tests/points/lives that they belong to what \
         reaches them:\n{missing}"
    );
    let unknown = listed(cut.difference(&known).collect());
    assert!(unknown.is_empty(), "a disk was changed where tests/points/sources.rs sees no point:\n{unknown}");
}
