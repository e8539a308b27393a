//! Ways of being wrong on purpose, to see that the oracles see them: `ZKE_MUTANT=name` in a run's environment.
//!
//! Most stand at the seams of the simulation, where no line of the product changes: a disk whose syncs do nothing is what
//! a log without fsync would be. Those that cannot are compiled into `tree` and `consensus` with the feature `fault`,
//! which only tests of this crate ask for, and which refuses to be compiled into anything without debug assertions.

use zke_storage::disk::Ignored;
use zke_storage::{Identity, Log, LogId, LogOptions, SimDisk};
use zke_tree::{Applied, Event};

/// One event in so many is not told.
const LOST_WATCH_ONE_IN: i64 = 97;
/// Entries that a start cuts off the end of a log.
const CUT_ENTRIES: u64 = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// The log acknowledges what it has not synced.
    AckBeforeFsync,
    /// The log never syncs its directory.
    NoDirectorySync,
    /// `sync` is answered without a read barrier.
    IdleSync,
    /// A member tells nobody of some changes.
    LostWatch,
    /// The end of a session leaves one of its ephemerals behind. Compiled into `tree`.
    LeftEphemeral,
    /// A member applies two entries in the wrong order. Compiled into `consensus`.
    OutOfOrder,
    /// A machine's member has the same id on every disk it ever gets.
    ReusedId,
    /// A start takes the last entries of the log for a torn tail.
    CutTail,
    /// Apply moves the mark of an origin over commands that are missing. Compiled into `tree`.
    MarkOverGap,
    /// A barrier that a leader cannot prove at once is never answered. Compiled into `consensus`.
    BarrierAskedOnce,
}

impl Mutant {
    pub const ALL: [(&'static str, Mutant); 10] = [
        ("ack-before-fsync", Mutant::AckBeforeFsync),
        ("no-directory-sync", Mutant::NoDirectorySync),
        ("idle-sync", Mutant::IdleSync),
        ("lost-watch", Mutant::LostWatch),
        ("left-ephemeral", Mutant::LeftEphemeral),
        ("out-of-order", Mutant::OutOfOrder),
        ("reused-id", Mutant::ReusedId),
        ("cut-tail", Mutant::CutTail),
        ("mark-over-gap", Mutant::MarkOverGap),
        ("barrier-asked-once", Mutant::BarrierAskedOnce),
    ];

    /// The one that this process was asked to be.
    pub fn from_env() -> Option<Mutant> {
        let name = std::env::var("ZKE_MUTANT").ok()?;
        let known = Mutant::ALL.iter().find(|(known, _)| *known == name);
        Some(known.unwrap_or_else(|| panic!("there is no mutant called {name}")).1)
    }
}

/// The disk as the log sees it.
pub(crate) fn log_disk(mutant: Option<Mutant>, disk: &SimDisk) -> SimDisk {
    disk.ignoring(match mutant {
        Some(Mutant::AckBeforeFsync) => Some(Ignored::Data),
        Some(Mutant::NoDirectorySync) => Some(Ignored::Directory),
        _ => None,
    })
}

/// Done to a disk before a process starts on it.
pub(crate) fn before_boot(mutant: Option<Mutant>, disk: &SimDisk, segment_bytes: u64) {
    if mutant != Some(Mutant::CutTail) {
        return;
    }
    let identity = Identity::load_or_mint(disk, || 1).expect("a simulated disk reads");
    if !identity.has_log() {
        return;
    }
    let options = LogOptions { segment_bytes, ..LogOptions::new(identity.member) };
    let Ok((mut log, _)) = Log::open(disk.clone(), options) else { return };
    let Some(LogId { index, .. }) = log.reader().last() else { return };
    let kept = index.saturating_sub(CUT_ENTRIES);
    let entries = log.reader().entries(kept..kept + 1, usize::MAX).unwrap_or_default();
    if let Some(last) = entries.first() {
        log.truncate_after(Some(last.id));
        log.flush().expect("a simulated disk writes");
    }
}

/// What a member tells its clients of a change.
pub(crate) fn events_told<'a>(mutant: Option<Mutant>, applied: &Applied<'a>) -> &'a [Event] {
    match mutant {
        Some(Mutant::LostWatch) if applied.zxid.0 % LOST_WATCH_ONE_IN == 0 => &[],
        _ => applied.events,
    }
}
