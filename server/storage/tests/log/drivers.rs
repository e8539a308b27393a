//! The drivers keep order and answer everyone; the real disk under the threaded one.

use std::sync::mpsc;

use bytes::Bytes;
use zke_storage::disk::Fault;
use zke_storage::{
    Disk, Entry, Log, LogDriver, LogId, LogInline, LogOptions, LogThread, Payload, RealDisk, SimDisk,
    StorageError, Vote,
};

use crate::model::{MEMBER, small};

fn entry(index: u64) -> Entry {
    let payload = Payload::Proposal(Bytes::from(format!("entry {index}")));
    Entry { id: LogId { term: 1, index }, payload }
}

/// Gives operations of every kind; returns the order and the results in which they were answered.
fn drive(driver: &impl LogDriver) -> Vec<(u64, Result<(), StorageError>)> {
    let (sender, answers) = mpsc::channel();
    let mut count = 0;
    let mut done = || {
        let (sender, number) = (sender.clone(), count);
        count += 1;
        Box::new(move |result| sender.send((number, result)).expect("the test is listening"))
            as zke_storage::Done
    };
    driver.save_vote(Vote { term: 1, member: Some(1), committed: true }, done());
    for index in 0..500 {
        if index % 3 == 0 {
            driver.append_here(vec![entry(index)], done());
        } else {
            driver.append(vec![entry(index)], done());
        }
        assert_eq!(driver.reader().last(), Some(LogId { term: 1, index }), "not visible at once");
        assert_eq!(driver.reader().entries(index..index + 1, 0).unwrap(), [entry(index)]);
    }
    driver.truncate_after(Some(LogId { term: 1, index: 449 }), done());
    driver.append(vec![entry(450)], done());
    driver.purge(LogId { term: 1, index: 99 }, done());
    (0..count).map(|_| answers.recv().expect("an answer to everything")).collect()
}

fn assert_as_driven<D: Disk>(disk: D, options: LogOptions) {
    let (log, recovered) = Log::open(disk, LogOptions { must_exist: true, ..options }).unwrap();
    assert_eq!(recovered.vote, Some(Vote { term: 1, member: Some(1), committed: true }));
    assert_eq!(recovered.purged, Some(LogId { term: 1, index: 99 }));
    assert_eq!(
        log.reader().entries(0..u64::MAX, usize::MAX).unwrap(),
        (100..=450).map(entry).collect::<Vec<_>>()
    );
}

fn assert_answered_in_order(answers: &[(u64, Result<(), StorageError>)]) {
    for (expected, (number, result)) in (0..).zip(answers) {
        assert_eq!(*number, expected);
        result.as_ref().expect("durable");
    }
}

#[test]
fn the_thread_makes_durable_on_a_real_disk_and_keeps_order() {
    let temp = tempfile::tempdir().unwrap();
    let disk = RealDisk::open(temp.path()).unwrap();
    let options = LogOptions { segment_bytes: 16384, tail_cache_bytes: 1000, ..LogOptions::new(MEMBER) };
    let (log, _) = Log::open(disk.clone(), options.clone()).unwrap();
    let driver = LogThread::spawn(log).unwrap();
    assert_answered_in_order(&drive(&driver));
    drop(driver);
    assert_as_driven(disk, options);
}

#[test]
fn inline_every_operation_is_durable_when_the_call_returns() {
    let disk = SimDisk::new(1);
    let (log, _) = Log::open(disk.clone(), small()).unwrap();
    let driver = LogInline::new(log);
    assert_answered_in_order(&drive(&driver));
    assert_as_driven(disk.crash(), small());
}

#[test]
fn the_thread_puts_what_waits_into_one_flush() {
    let disk = SimDisk::new(1);
    let (log, _) = Log::open(disk.clone(), LogOptions { segment_bytes: 1 << 20, ..small() }).unwrap();
    let before = disk.operations();
    let (sender, answers) = mpsc::channel();
    let driver = LogThread::spawn(log).unwrap();
    let hold = sender.clone();
    let (release, held) = mpsc::channel::<()>();
    driver.append(
        vec![entry(0)],
        Box::new(move |_| {
            // While this batch is answered, the next one gathers.
            held.recv().expect("released");
            hold.send(()).expect("listening");
        }),
    );
    while disk.operations() == before {
        std::thread::yield_now();
    }
    for index in 1..1000 {
        let sender = sender.clone();
        driver.append(vec![entry(index)], Box::new(move |_| sender.send(()).expect("listening")));
    }
    release.send(()).unwrap();
    (0..1000).for_each(|_| answers.recv().unwrap());
    drop(driver);
    // Write, sync and mark, for at most: the first entry, those that came in before its write was over, the rest.
    assert!(disk.operations() - before <= 9, "{} operations", disk.operations() - before);
}

#[test]
fn a_caller_who_finds_nobody_writing_writes_itself() {
    let (log, _) = Log::open(SimDisk::new(1), LogOptions { segment_bytes: 1 << 20, ..small() }).unwrap();
    let driver = LogThread::spawn(log).unwrap();
    let caller = std::thread::current().id();
    let (sender, answers) = mpsc::channel();
    for index in 0..100 {
        let sender = sender.clone();
        let report = move |result: Result<(), StorageError>| {
            result.expect("durable");
            sender.send(std::thread::current().id()).expect("listening");
        };
        driver.append_here(vec![entry(index)], Box::new(report));
        assert_eq!(answers.try_recv(), Ok(caller), "before the call returned");
    }
}

#[test]
fn what_comes_while_a_caller_writes_goes_behind_it_and_waits_for_nobody() {
    let disk = SimDisk::new(1);
    let (log, _) = Log::open(disk.clone(), small()).unwrap();
    let driver = LogThread::spawn(log).unwrap();
    let (sender, answers) = mpsc::channel();
    let (inner, second) = (sender.clone(), sender.clone());
    let behind = &driver;
    std::thread::scope(|scope| {
        let (entered, wait_entered) = mpsc::channel::<()>();
        let (release, released) = mpsc::channel::<()>();
        scope.spawn(move || {
            let report = move |result: Result<(), StorageError>| {
                entered.send(()).expect("the test waits");
                released.recv().expect("released");
                inner.send((0, result)).expect("listening");
            };
            behind.append_here(vec![entry(0)], Box::new(report));
        });
        wait_entered.recv().unwrap();
        let report = move |result| second.send((1, result)).expect("listening");
        behind.append_here(vec![entry(1)], Box::new(report));
        assert!(answers.try_recv().is_err(), "overtook the one before it");
        release.send(()).unwrap();
        assert_answered_in_order(&[answers.recv().unwrap(), answers.recv().unwrap()]);
    });
    drop(driver);
    let (log, _) = Log::open(disk.crash(), LogOptions { must_exist: true, ..small() }).unwrap();
    assert_eq!(log.reader().last(), Some(LogId { term: 1, index: 1 }));
}

/// Files that a reader has open are not overwritten under it, and what it gets is what was appended.
#[test]
fn a_reader_is_right_while_segments_are_purged_and_used_again() {
    const ENTRIES: u64 = 6000;
    let (log, _) = Log::open(SimDisk::new(1), LogOptions { tail_cache_bytes: 0, ..small() }).unwrap();
    let driver = LogThread::spawn(log).unwrap();
    std::thread::scope(|scope| {
        for step in 1..4 {
            let reader = driver.reader();
            scope.spawn(move || {
                let mut read = 0;
                while read == 0 || reader.last().is_none_or(|last| last.index + 1 < ENTRIES) {
                    let first = reader.purged().map_or(0, |purged| purged.index + 1);
                    let entries = reader.entries(first..first + 10 * step, 1 << 20).expect("readable");
                    entries.iter().for_each(|found| assert_eq!(*found, entry(found.id.index)));
                    read += entries.len();
                }
            });
        }
        for index in 0..ENTRIES {
            driver.append(vec![entry(index)], Box::new(|result| result.expect("durable")));
            if index % 100 == 99 {
                driver
                    .purge(LogId { term: 1, index: index - 30 }, Box::new(|result| result.expect("durable")));
            }
        }
    });
}

#[test]
fn a_failed_fsync_answers_everyone_with_an_error() {
    let disk = SimDisk::new(1);
    let (log, _) = Log::open(disk.clone(), small()).unwrap();
    let driver = LogThread::spawn(log).unwrap();
    disk.inject(disk.operations() + 1, Fault::Eio);
    let (sender, answers) = mpsc::channel();
    for index in 0..50 {
        let sender = sender.clone();
        driver.append(vec![entry(index)], Box::new(move |result| sender.send(result).expect("listening")));
    }
    drop(driver);
    drop(sender);
    let answers: Vec<_> = answers.iter().collect();
    assert_eq!(answers.len(), 50);
    assert!(matches!(answers[0], Err(StorageError::Io { .. })));
    assert!(answers.iter().all(Result::is_err));
}

#[test]
fn a_refused_operation_is_answered_at_once_and_ends_the_log() {
    let (log, _) = Log::open(SimDisk::new(1), small()).unwrap();
    let driver = LogThread::spawn(log).unwrap();
    let (sender, answers) = mpsc::channel();
    let done = |sender: &mpsc::Sender<_>| {
        let sender = sender.clone();
        Box::new(move |result: Result<(), StorageError>| sender.send(result).expect("listening"))
    };
    driver.append(vec![entry(3)], done(&sender));
    assert!(matches!(answers.recv().unwrap(), Err(StorageError::OutOfOrder { .. })));
    driver.append(vec![entry(0)], done(&sender));
    assert!(matches!(answers.recv().unwrap(), Err(StorageError::Poisoned)));
}

#[test]
fn the_thread_waits_on_a_full_volume_and_goes_on_when_there_is_space() {
    let disk = SimDisk::new(5);
    // Of 4 KiB each: one segment, and no room for a second.
    disk.set_capacity_bytes(6 << 10);
    let options = small();
    let (log, _) = Log::open(disk.clone(), options.clone()).unwrap();
    let thread = LogThread::spawn(log).unwrap();
    let (sender, answers) = mpsc::channel();
    for index in 0..200 {
        let sender = sender.clone();
        let done = move |result: Result<(), StorageError>| {
            let _ = sender.send(result);
        };
        thread.append(vec![entry(index)], Box::new(done));
    }
    let patience = std::time::Duration::from_secs(20);
    let since = std::time::Instant::now();
    while !thread.reader().waits_for_space() {
        assert!(since.elapsed() < patience, "the volume is full, and the log does not say so");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    // What was reported is there after a power loss at this moment, and nothing is damaged.
    let reported = answers.try_iter().map(|result| result.expect("full is no failure")).count() as u64;
    let must_exist = LogOptions { must_exist: true, ..options.clone() };
    let crashed = disk.fork().crash();
    crashed.set_capacity_bytes(u64::MAX);
    let (_, recovered) = Log::open(crashed, must_exist.clone()).unwrap();
    assert!(recovered.last.map_or(0, |last| last.index + 1) >= reported);

    disk.set_capacity_bytes(1 << 20);
    for _ in reported..200 {
        answers.recv_timeout(patience).expect("it goes on").expect("nothing failed");
    }
    assert!(!thread.reader().waits_for_space());
    drop(thread);
    let (log, _) = Log::open(disk.kill(), must_exist).unwrap();
    let all: Vec<_> = (0..200).map(entry).collect();
    assert_eq!(log.reader().entries(0..u64::MAX, usize::MAX).unwrap(), all);
}

#[test]
fn a_log_that_waits_for_space_can_be_closed() {
    let disk = SimDisk::new(6);
    disk.set_capacity_bytes(6 << 10);
    let (log, _) = Log::open(disk.clone(), small()).unwrap();
    let thread = LogThread::spawn(log).unwrap();
    let (sender, answers) = mpsc::channel();
    for index in 0..200 {
        let sender = sender.clone();
        thread.append(vec![entry(index)], Box::new(move |result| drop(sender.send(result))));
    }
    drop((thread, sender));
    let results: Vec<_> = answers.iter().collect();
    assert_eq!(results.len(), 200, "everyone is answered");
    assert!(results.last().is_some_and(Result::is_err));
}
