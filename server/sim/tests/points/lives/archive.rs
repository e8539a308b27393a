//! Of archives: one that counts is whole, and what is left of another is in nobody's way.

use zkd::commands::Folder;
use zke_storage::disk::Fault;
use zke_storage::{ArchiveHeader, LogId, SimDisk};
use zke_tree::{EnsembleId, MemberId};
use zke_wire::Zxid;

use crate::cut::{Failed, Life};

const NAME: &str = "daily";
const SMALL_BYTES: usize = 300_000;
/// More than is written before a sync.
const LARGE_BYTES: usize = 17 << 20;

/// Told: whether it was said to be there.
pub fn whole() -> Life<bool> {
    Life { begin: SimDisk::new, play: |disk, told| take(disk, SMALL_BYTES, told), check }
}

/// The folder is full, and what was written is removed.
pub fn without_space() -> Life<bool> {
    Life {
        begin: |seed| {
            let whole = SimDisk::new(seed);
            take(&whole, SMALL_BYTES, &mut false).unwrap();
            // The one thing that is done again and again is to write.
            let points = whole.points();
            let again = points.iter().enumerate().find(|(at, point)| points[..*at].contains(point));
            let disk = SimDisk::new(seed);
            disk.inject_at(*again.expect("there is more than one block").1, 1, Fault::NoSpace);
            disk
        },
        play: |disk, told| take(disk, SMALL_BYTES, told),
        check,
    }
}

pub fn large() -> Life<bool> {
    Life { begin: SimDisk::new, play: |disk, told| take(disk, LARGE_BYTES, told), check }
}

fn header() -> ArchiveHeader {
    ArchiveHeader {
        ensemble: EnsembleId([1; 16]),
        member: MemberId(2),
        last: LogId { term: 3, index: 4 },
        zxid: Zxid(5),
        created_ms: 6,
        server_version: "0.1.0".to_owned(),
    }
}

fn take(disk: &SimDisk, content_bytes: usize, told: &mut bool) -> Result<(), Failed> {
    let failed = |failure: Box<zkd::commands::Failure>| Failed::from(failure.message);
    let mut unfinished = Folder::new(disk.clone()).begin(NAME, &header()).map_err(failed)?;
    unfinished.write(&vec![7; content_bytes]).map_err(failed)?;
    let written = unfinished.close().map_err(failed)?;
    written.publish(|verified| serde_json::json!({ "sha256": verified.sha256 })).map_err(failed)?;
    *told = true;
    Ok(())
}

fn check(disk: &SimDisk, told: &bool) {
    let kept = || Folder::new(disk.clone()).kept(NAME).expect("a simulated disk reads");
    assert!(kept().is_some() || !told, "an archive that was there is gone");
    take(disk, SMALL_BYTES, &mut false).unwrap();
    assert!(kept().is_some());
}
