//! The lives that are cut short: together they reach every point.

mod archive;
mod log;
mod snapshots;
mod start;

use std::collections::BTreeSet;

use crate::cut::Hits;

/// Returns the points at which something was cut short.
pub fn cut_all() -> BTreeSet<String> {
    let cut = [
        log::whole().cut_short(Hits::Every),
        log::torn().cut_short(Hits::Every),
        log::without_space().cut_short(Hits::Every),
        log::on_its_reserve().cut_short(Hits::Every),
        log::read_while_purged().cut_short(Hits::Every),
        snapshots::whole().cut_short(Hits::Every),
        start::blank().cut_short(Hits::Every),
        start::used().cut_short(Hits::Every),
        start::renewing().cut_short(Hits::Every),
        start::restoring().cut_short(Hits::Every),
        archive::whole().cut_short(Hits::Every),
        archive::without_space().cut_short(Hits::Every),
        archive::large().cut_short(Hits::First),
    ];
    cut.into_iter().flatten().collect()
}
