//! Damage is noticed, or it hit nothing that counts. It never shortens a log silently.

use std::sync::OnceLock;

use zke_storage::{Disk, DiskFile, Log, LogOptions, SimDisk, StorageError};
use zke_tree::MemberId;

use crate::model::{MEMBER, Op, Random, State, give, small};

/// A log of several segments, written over stale ones, every operation flushed.
fn log() -> (SimDisk, State) {
    static LOG: OnceLock<(SimDisk, State)> = OnceLock::new();
    let (disk, state) = LOG.get_or_init(|| {
        let disk = SimDisk::new(5);
        let (mut log, _) = Log::open(disk.clone(), small()).unwrap();
        let (mut random, mut state) = (Random(5), State::default());
        let mut step = |op: Op| {
            give(&mut log, &op);
            state.apply(&op);
            log.flush().unwrap();
            state.clone()
        };
        let mut state = State::default();
        for _ in 0..2 {
            for _ in 0..12 {
                state = step(Op::Append(vec![random.entry(1, state.last.map_or(0, |last| last.index + 1))]));
            }
            state = step(Op::Purge(state.entries[8].id));
        }
        for _ in 0..12 {
            let op = state.random_op(&mut random);
            if !matches!(op, Op::Purge(_)) {
                state = step(op);
            }
        }
        (disk.kill(), state)
    });
    (disk.fork(), state.clone())
}

fn open(disk: SimDisk) -> Result<State, StorageError> {
    let options = LogOptions { must_exist: true, ..small() };
    let (log, recovered) = Log::open(disk, options)?;
    Ok(State::of(&recovered, &log.reader()))
}

fn segments(disk: &SimDisk) -> Vec<String> {
    disk.list().unwrap().into_iter().filter(|name| name.starts_with("log-")).collect()
}

#[test]
fn a_flipped_bit_at_any_offset_is_noticed_or_harmless() {
    let (disk, whole) = log();
    let (mut noticed, mut harmless) = (0, 0);
    for name in segments(&disk) {
        let bytes = disk.open(&name).unwrap().len().unwrap() as usize;
        for offset in 0..bytes {
            let mask = 1 << (offset % 8);
            let damaged = disk.fork();
            assert!(damaged.flip(&name, offset, mask));
            match open(damaged) {
                Ok(state) => {
                    assert_eq!(state, whole, "{name} at {offset} changed the log silently");
                    harmless += 1;
                }
                Err(StorageError::Corrupt { file, .. }) => {
                    assert_eq!(file, name);
                    noticed += 1;
                }
                Err(StorageError::Version { .. }) => assert_eq!(offset, 8),
                Err(other) => panic!("{name} at {offset}: {other:?}"),
            }
        }
    }
    assert!(noticed > 3000 && harmless > 0, "{noticed} noticed, {harmless} harmless");
}

/// The sector in which the log ends is the only one that can be lost unseen: nothing behind it knows of it.
#[test]
fn a_sector_that_reads_as_zeros_is_noticed_or_harmless() {
    let (disk, whole) = log();
    let (mut noticed, mut shortened) = (0, 0);
    for name in segments(&disk) {
        for sector in 0..disk.open(&name).unwrap().len().unwrap() / 512 {
            let damaged = disk.fork();
            damaged.open(&name).unwrap().write_at(sector * 512, &[0; 512]).unwrap();
            match open(damaged) {
                Ok(state) => shortened += usize::from(state != whole),
                Err(StorageError::Corrupt { .. }) => noticed += 1,
                Err(other) => panic!("{name}, sector {sector}: {other:?}"),
            }
        }
    }
    assert!(noticed > 10 && shortened <= 1, "{noticed} noticed, {shortened} not");
}

#[test]
fn a_missing_segment_is_noticed() {
    let (disk, whole) = log();
    let names = segments(&disk);
    assert!(names.len() >= 3, "{names:?}");
    for name in &names {
        let damaged = disk.fork();
        damaged.remove(name).unwrap();
        match open(damaged) {
            // All that stood in it was purged: a crash between the purge and the removal leaves as much.
            Ok(state) => {
                assert!(state == whole && *name == names[0], "the log opened without {name} of {names:?}")
            }
            Err(StorageError::Corrupt { .. } | StorageError::Missing { .. }) => {}
            Err(other) => panic!("{name}: {other:?}"),
        }
    }
    names.iter().for_each(|name| disk.remove(name).unwrap());
    assert!(matches!(open(disk), Err(StorageError::Missing { .. })));
}

#[test]
fn entries_lost_with_the_oldest_segment_are_noticed() {
    let disk = SimDisk::new(1);
    let (mut log, _) = Log::open(disk.clone(), small()).unwrap();
    let mut random = Random(1);
    (0..60).for_each(|index| log.append(&[random.entry(1, index)]));
    log.flush().unwrap();
    let disk = disk.kill();
    let names = segments(&disk);
    assert!(names.len() > 2);
    disk.remove(&names[0]).unwrap();
    assert!(matches!(open(disk), Err(StorageError::Corrupt { file, .. }) if file == names[1]));
}

#[test]
fn a_shortened_segment_is_noticed() {
    let (disk, _) = log();
    for name in segments(&disk) {
        let mut bytes = vec![0; disk.open(&name).unwrap().len().unwrap() as usize];
        disk.open(&name).unwrap().read_at(0, &mut bytes).unwrap();
        for len in [0, 10, 64, 100, bytes.len() - 1] {
            let damaged = disk.fork();
            damaged.remove(&name).unwrap();
            damaged.create(&name).unwrap().write_at(0, &bytes[..len]).unwrap();
            assert!(matches!(open(damaged), Err(StorageError::Corrupt { .. })), "{name} cut to {len}");
        }
    }
}

#[test]
fn damage_under_a_reader_is_noticed() {
    let (disk, whole) = log();
    let (log, _) = Log::open(disk.clone(), small()).unwrap();
    for name in segments(&disk) {
        for offset in 100..1000 {
            assert!(disk.flip(&name, offset, 1));
        }
    }
    let first = whole.entries[0].id.index;
    let read = (first..whole.last.unwrap().index).map(|index| log.reader().entries(index..index + 1, 1));
    assert!(read.into_iter().any(|read| matches!(read, Err(StorageError::Corrupt { .. }))));
}

#[test]
fn another_members_log_is_refused() {
    let (disk, _) = log();
    let other = LogOptions { member: MemberId(MEMBER.0 + 1), ..small() };
    assert!(matches!(Log::open(disk, other).err(), Some(StorageError::Foreign { found: MEMBER, .. })));
}
