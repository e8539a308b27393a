//! Of a process that starts, in the order of `Ensemble::start`: the id is minted once, incarnations are used once, and
//! whatever the last start had begun, the next one finishes by itself.

use std::io::Write;

use bytes::Bytes;
use zke_storage::{
    DiskState, Identity, Log, LogId, LogOptions, SimDisk, SnapshotMeta, SnapshotStore, StorageError, Vote,
};
use zke_tree::EnsembleId;

use crate::cut::Life;

const SEGMENT_BYTES: u64 = 4096;
const RESTORED: LogId = LogId { term: 65_540, index: 1 };
const ENSEMBLE: EnsembleId = EnsembleId([7; 16]);

/// Told: the identity with which the process began to serve.
type Told = Option<Identity>;

/// Of nothing.
pub fn blank() -> Life<Told> {
    Life {
        begin: SimDisk::new,
        play: |disk, told| Ok(start(disk, 7, told)?),
        check: |disk, told| {
            let found = next(disk, told);
            assert_eq!(found.state, DiskState::Blank);
            assert!(told.is_none() || found.member.0 == 7, "an id that was used is lost");
        },
    }
}

/// Of a member with entries and a vote.
pub fn used() -> Life<Told> {
    Life {
        begin: |seed| used_disk(seed, DiskState::Member),
        play: |disk, told| Ok(start(disk, 8, told)?),
        check: |disk, told| {
            let found = next(disk, told);
            assert_eq!((found.member.0, found.state), (7, DiskState::Member));
            let (log, recovered) = Log::open(disk.clone(), options(&found)).unwrap();
            assert_eq!(recovered.vote, Some(vote(3)), "a vote went back");
            assert_eq!(log.reader().last(), Some(LogId { term: 3, index: 0 }));
        },
    }
}

/// Of a member that was retired and begins anew, twice, so that what was set aside the first time goes.
pub fn renewing() -> Life<Told> {
    Life {
        begin: |seed| {
            let disk = used_disk(seed, DiskState::Renewing);
            start(&disk, 8, &mut None).unwrap();
            let identity = Identity::load(&disk).unwrap().unwrap();
            Identity { state: DiskState::Renewing, ..identity }.save(&disk).unwrap();
            disk
        },
        play: |disk, told| Ok(start(disk, 9, told)?),
        check: |disk, told| {
            let found = next(disk, told);
            assert_eq!(found.state, DiskState::Blank);
            assert!(found.member.0 > 8, "an id is never used twice");
            let (_, recovered) = Log::open(disk.clone(), options(&found)).unwrap();
            assert_eq!((recovered.vote, recovered.last), (None, None));
        },
    }
}

/// Of a disk that was told to begin an ensemble with the data of an archive.
pub fn restoring() -> Life<Told> {
    Life {
        begin: |seed| {
            let disk = SimDisk::new(seed);
            start(&disk, 7, &mut None).unwrap();
            let store = SnapshotStore::open(disk.clone(), 3).unwrap();
            let meta = SnapshotMeta { last: RESTORED, membership_id: None, membership: Bytes::new() };
            let mut writer = store.create(&meta).unwrap();
            writer.write_all(b"state").unwrap();
            writer.finish_staged().unwrap();
            let identity = Identity::load(&disk).unwrap().unwrap();
            let state = DiskState::Restoring;
            Identity { ensemble: Some(ENSEMBLE), state, ..identity }.save(&disk).unwrap();
            disk
        },
        play: |disk, told| Ok(start(disk, 8, told)?),
        check: |disk, told| {
            let found = next(disk, told);
            assert_eq!((found.member.0, found.state, found.ensemble), (7, DiskState::Member, Some(ENSEMBLE)));
            let store = SnapshotStore::open(disk.clone(), 3).unwrap();
            assert_eq!(store.newest().unwrap().unwrap().verify().unwrap().last, RESTORED);
            let (_, recovered) = Log::open(disk.clone(), options(&found)).unwrap();
            assert_eq!(recovered.purged, Some(RESTORED));
            assert_eq!(recovered.vote.map(|vote| vote.term), Some(RESTORED.term));
        },
    }
}

fn vote(term: u64) -> Vote {
    Vote { term, member: Some(7), committed: true }
}

/// With an entry and a vote of member 7.
fn used_disk(seed: u64, state: DiskState) -> SimDisk {
    let disk = SimDisk::new(seed);
    start(&disk, 7, &mut None).unwrap();
    let identity = Identity::load(&disk).unwrap().unwrap();
    let identity = Identity { ensemble: Some(ENSEMBLE), state, ..identity };
    let (mut log, _) = Log::open(disk.clone(), options(&identity)).unwrap();
    log.save_vote(vote(3));
    let payload = zke_storage::Payload::Blank;
    log.append(&[zke_storage::Entry { id: LogId { term: 3, index: 0 }, payload }]);
    log.flush().unwrap();
    identity.save(&disk).unwrap();
    disk
}

fn options(identity: &Identity) -> LogOptions {
    let must_exist = identity.has_log();
    LogOptions { must_exist, segment_bytes: SEGMENT_BYTES, ..LogOptions::new(identity.member) }
}

/// What a process does with its disk before it serves. `fresh`: the id it would mint.
fn start(disk: &SimDisk, fresh: u64, told: &mut Told) -> Result<(), StorageError> {
    let mut identity = Identity::load_or_mint(disk, || fresh)?;
    if identity.state == DiskState::Renewing {
        identity = identity.renew(disk, disk, || fresh)?;
    }
    let store = SnapshotStore::open(disk.clone(), 3)?;
    match identity.state {
        DiskState::Restoring => identity = identity.finish_restoration(&store, disk, disk, SEGMENT_BYTES)?,
        DiskState::Blank => store.discard_staged()?,
        _ => {}
    }
    identity.begin_incarnation(disk)?;
    *told = Some(identity.clone());
    Log::open(disk.clone(), options(&identity))?;
    Ok(())
}

/// The start after the crash. Another id than before would be minted, as it is random.
fn next(disk: &SimDisk, told: &Told) -> Identity {
    let mut found = None;
    start(disk, 10, &mut found).expect("a process starts by itself");
    let found = found.expect("it started");
    if let Some(told) = told {
        assert_eq!(found.member, told.member, "the id of a disk changed");
        assert!(found.incarnation > told.incarnation, "an incarnation came twice");
    }
    found
}
