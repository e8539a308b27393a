//! Where members are wrong on purpose in more than a line; see [`zke_tree::fault`]. Never in a program that is shipped.

use openraft::impls::EntryPayload;
use zke_storage::{Disk, Log, LogId, StorageError};
use zke_tree::Applied;
use zke_tree::fault::{asked, is_on};

use crate::ensemble::Setup;
use crate::types::RaftEntry;

/// Entries that `cut-tail` cuts off.
const CUT_ENTRIES: u64 = 4;
/// `lost-watch` tells nobody of one change in so many of a leader's ...
const CHANGES_PER_LOST_WATCH: u32 = 10_000;
/// ... and of which, so that most runs come to one: leaders in the simulation hardly do more than a hundred.
const LOST_CHANGE: u32 = 60;

/// `reused-id`: every disk that a pod ever gets has the same member id.
pub(crate) fn setup<D: Disk>(mut setup: Setup<D>) -> Setup<D> {
    if let Some(mutant) = asked() {
        tracing::warn!(mutant, "this process is wrong on purpose");
    }
    if is_on("reused-id") {
        setup.fresh_member_id = setup.pod.bytes().fold(1, |id, byte| id.wrapping_mul(31) + u64::from(byte));
    }
    setup
}

/// `cut-tail`: a start takes the last entries of the log for a torn tail.
pub(crate) fn opened<D: Disk>(mut log: Log<D>) -> Result<Log<D>, StorageError> {
    let last = log.reader().last().filter(|_| is_on("cut-tail"));
    let Some(LogId { index, .. }) = last else { return Ok(log) };
    let kept = index.saturating_sub(CUT_ENTRIES);
    // What stands in a snapshot alone cannot be cut off the log.
    let entries = log.reader().entries(kept..kept + 1, usize::MAX).unwrap_or_default();
    if let Some(kept) = entries.first() {
        log.truncate_after(Some(kept.id));
        log.flush()?;
    }
    Ok(log)
}

/// `out-of-order`: where two commands came together, the second is applied in the place of the first.
pub(crate) fn to_apply(mut entries: Vec<RaftEntry>) -> Vec<RaftEntry> {
    if let [first, second, ..] = &mut *entries
        && let (EntryPayload::Normal(first), EntryPayload::Normal(second)) =
            (&mut first.payload, &mut second.payload)
        && is_on("out-of-order")
    {
        std::mem::swap(first, second);
    }
    entries
}

/// `lost-watch`: one change in 10,000 is told to nobody who watches.
pub(crate) fn told(mut applied: Applied<'_>) -> Applied<'_> {
    if is_on("lost-watch") && applied.zxid.counter() % CHANGES_PER_LOST_WATCH == LOST_CHANGE {
        applied.events = &[];
    }
    applied
}
