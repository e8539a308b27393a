//! Of the write-ahead log: what it reported as flushed is there in order, a vote never goes back, and it opens.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use zke_storage::disk::{Fault, SimFile};
use zke_storage::{Disk, DiskFile, Entry, Log, LogId, LogOptions, Payload, SimDisk};

use crate::cut::{Failed, Life};
use crate::model::{Op, Random, State, give, small};

/// Batches enough that segments are made, filled, truncated, purged and used again.
const BATCHES: usize = 30;

/// Each of the states that a crash may leave: that of the last flush, and those after each record since. Empty until the
/// log was opened once.
type Allowed = Vec<State>;

/// Everything that consensus asks of a log, at random and always the same.
pub fn whole() -> Life<Allowed> {
    Life { begin: SimDisk::new, play, check }
}

fn play(disk: &SimDisk, allowed: &mut Allowed) -> Result<(), Failed> {
    let (mut log, recovered) = Log::open(disk.clone(), small())?;
    let mut now = State::of(&recovered, &log.reader());
    *allowed = vec![now.clone()];
    let mut random = Random(1);
    for batch in 0..BATCHES {
        for _ in 0..=batch % 5 {
            let op = now.random_op(&mut random);
            give(&mut log, &op);
            for record in op.records() {
                now.apply(&record);
                allowed.push(now.clone());
            }
        }
        log.flush()?;
        *allowed = vec![now.clone()];
    }
    Ok(())
}

fn check(disk: &SimDisk, allowed: &Allowed) {
    let options = LogOptions { must_exist: !allowed.is_empty(), ..small() };
    let (log, recovered) = Log::open(disk.clone(), options).expect("a crash is no damage");
    let found = State::of(&recovered, &log.reader());
    let nothing = [State::default()];
    let allowed = if allowed.is_empty() { &nothing[..] } else { allowed };
    assert!(allowed.contains(&found), "recovered {found:#?}\nwhich is none of {allowed:#?}");
}

fn entry(index: u64) -> Entry {
    let payload = Payload::Proposal(Bytes::from(vec![index as u8 + 1; 1000]));
    Entry { id: LogId { term: 1, index }, payload }
}

/// A start that has to mend the end of a flush that never finished, which the power loss interrupts in turn.
pub fn torn() -> Life<()> {
    Life {
        begin: |seed| {
            let torn = (0..200).map(|attempt| torn_disk(seed * 200 + attempt));
            // The one that gives recovery most to do.
            let recovery = |disk: &SimDisk| {
                let (disk, before) = (disk.fork(), disk.points().len());
                Log::open(disk.clone(), small()).expect("a crash is no damage");
                disk.points().len() - before
            };
            torn.max_by_key(recovery).expect("there are many")
        },
        play: |disk, ()| {
            Log::open(disk.clone(), small())?;
            Ok(())
        },
        check: |disk, ()| {
            let (log, _) = Log::open(disk.clone(), LogOptions { must_exist: true, ..small() }).unwrap();
            let found = log.reader().entries(0..u64::MAX, usize::MAX).unwrap();
            assert!(found.iter().eq((0..3).map(entry).collect::<Vec<_>>()[..found.len()].iter()));
            assert!(!found.is_empty(), "the first entry was flushed");
        },
    }
}

/// One entry that was flushed, and two of which the power loss left something.
fn torn_disk(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    let (mut log, _) = Log::open(disk.clone(), small()).unwrap();
    give(&mut log, &Op::Append(vec![entry(0)]));
    log.flush().unwrap();
    give(&mut log, &Op::Append(vec![entry(1), entry(2)]));
    disk.inject(disk.operations() + 1, Fault::PowerLoss);
    assert!(log.flush().is_err());
    disk.crash()
}

/// There is no room for the next segment, and what was made of it is removed.
pub fn without_space() -> Life<()> {
    Life {
        begin: |seed| {
            let whole = SimDisk::new(seed);
            Log::open(whole.clone(), small()).unwrap();
            let fills = whole.points().into_iter().find(|point| point.file == "server/storage/src/disk.rs");
            let disk = SimDisk::new(seed);
            disk.inject_at(fills.expect("a segment is filled with zeros"), 0, Fault::NoSpace);
            disk
        },
        play: |disk, ()| {
            Log::open(disk.clone(), small())?;
            Ok(())
        },
        check: |disk, ()| {
            let (_, recovered) = Log::open(disk.clone(), small()).expect("nothing is in the way");
            assert_eq!((recovered.vote, recovered.last), (None, None));
            let left = disk.list().unwrap();
            assert!(!left.iter().any(|name| name.ends_with(".tmp")), "{left:?}");
        },
    }
}

/// A volume that fills: the reserve becomes segments of the log, one is given back, and all is made again.
pub fn on_its_reserve() -> Life<u64> {
    const PER_SEGMENT: u64 = 3;
    fn fill(disk: &SimDisk, flushed: &mut u64) -> Result<(), Failed> {
        let (mut log, _) = Log::open(disk.clone(), small())?;
        let reserve = log.reserve();
        assert!(reserve.fill()?, "there is room");
        disk.set_capacity_bytes(disk.used_bytes());
        while reserve.is_whole() {
            give(&mut log, &Op::Append((*flushed..*flushed + PER_SEGMENT).map(entry).collect()));
            log.flush()?;
            *flushed += PER_SEGMENT;
        }
        assert!(!reserve.fill()?, "there is no room");
        assert!(reserve.give_back()?, "there was a second one");
        disk.set_capacity_bytes(u64::MAX);
        assert!(reserve.fill()?, "there is room again");
        Ok(())
    }
    Life {
        begin: |seed| {
            let disk = SimDisk::new(seed);
            disk.create("log.reserve-7").expect("of another version");
            disk
        },
        play: fill,
        check: |disk, flushed| {
            disk.set_capacity_bytes(u64::MAX);
            let (log, _) = Log::open(disk.clone(), small()).expect("a crash is no damage");
            let found = log.reader().entries(0..u64::MAX, usize::MAX).unwrap();
            assert!((*flushed..=*flushed + PER_SEGMENT).contains(&(found.len() as u64)), "{}", found.len());
            assert!(found.iter().eq((0..found.len() as u64).map(entry).collect::<Vec<_>>().iter()));
            assert!(log.reserve().fill().expect("nothing is in the way"));
        },
    }
}

/// A segment is purged in the middle of a read of it, so that it cannot be used again.
pub fn read_while_purged() -> Life<()> {
    const LAST: u64 = 12;
    Life {
        begin: |seed| {
            let disk = SimDisk::new(seed);
            let (mut log, _) = Log::open(disk.clone(), small()).unwrap();
            give(&mut log, &Op::Append((0..=LAST).map(entry).collect()));
            log.flush().unwrap();
            disk
        },
        play: |disk, ()| {
            let disk = Interrupted { disk: disk.clone(), at_read: Arc::default() };
            let (log, _) = Log::open(disk.clone(), LogOptions { must_exist: true, ..small() })?;
            let (reader, log) = (log.reader(), Mutex::new(log));
            let failed = Arc::new(Mutex::new(None));
            let purged = failed.clone();
            *disk.at_read.lock() = Some(Box::new(move || {
                let mut log = log.lock();
                log.purge(LogId { term: 1, index: LAST - 1 });
                *purged.lock() = log.flush().err();
            }));
            let read = reader.entries(0..3, usize::MAX);
            if let Some(error) = failed.lock().take() {
                return Err(error.into());
            }
            assert!(read?.iter().eq((0..3).map(entry).collect::<Vec<_>>().iter()));
            Ok(())
        },
        check: |disk, ()| {
            let options = LogOptions { must_exist: true, ..small() };
            let (log, recovered) = Log::open(disk.clone(), options).unwrap();
            assert_eq!(recovered.last, Some(entry(LAST).id));
            assert!(recovered.purged.is_none_or(|purged| purged == entry(LAST - 1).id));
            let from = recovered.purged.map_or(0, |purged| purged.index + 1);
            let found = log.reader().entries(0..u64::MAX, usize::MAX).unwrap();
            assert!(found.iter().eq((from..=LAST).map(entry).collect::<Vec<_>>().iter()));
        },
    }
}

type AtRead = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// A disk on which something is done, once, in the middle of a read.
#[derive(Clone)]
struct Interrupted {
    disk: SimDisk,
    at_read: AtRead,
}

struct InterruptedFile {
    file: SimFile,
    at_read: AtRead,
}

impl Disk for Interrupted {
    type File = InterruptedFile;

    fn create(&self, name: &str) -> io::Result<InterruptedFile> {
        Ok(InterruptedFile { file: self.disk.create(name)?, at_read: self.at_read.clone() })
    }

    fn open(&self, name: &str) -> io::Result<InterruptedFile> {
        Ok(InterruptedFile { file: self.disk.open(name)?, at_read: self.at_read.clone() })
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.disk.sync_dir()
    }

    fn available_bytes(&self) -> io::Result<u64> {
        self.disk.available_bytes()
    }
}

impl DiskFile for InterruptedFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let interruption = self.at_read.lock().take();
        if let Some(interruption) = interruption {
            interruption();
        }
        self.file.read_at(offset, buf)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}
