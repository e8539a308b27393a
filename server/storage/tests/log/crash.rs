//! Whatever was flushed is there after a crash, in order; what was not is there in part from the front, or not at all.

use bytes::Bytes;
use zke_storage::disk::Fault;
use zke_storage::{Entry, Log, LogId, LogOptions, Payload, SimDisk, StorageError, Vote};

use crate::model::{Op, Random, State, give, small};

/// A log, what it must say if nothing fails, and what it may say after a crash.
struct Run {
    disk: SimDisk,
    log: Log<SimDisk>,
    now: State,
    /// The state at the last flush, then one more for each record since.
    allowed: Vec<State>,
    options: LogOptions,
    torn: bool,
}

impl Run {
    fn start(disk: SimDisk, options: LogOptions) -> Result<Run, StorageError> {
        let (log, recovered) = Log::open(disk.clone(), options.clone())?;
        let now = State::of(&recovered, &log.reader());
        Ok(Run { disk, log, allowed: vec![now.clone()], now, options, torn: recovered.torn.is_some() })
    }

    fn give(&mut self, op: &Op) {
        give(&mut self.log, op);
        for record in op.records() {
            self.now.apply(&record);
            self.allowed.push(self.now.clone());
        }
    }

    fn flush(&mut self) -> Result<(), StorageError> {
        self.log.flush()?;
        self.allowed = vec![self.now.clone()];
        Ok(())
    }

    /// Opens what `disk` has now. It must be a state between the last flush and the last operation.
    fn reopen(self, disk: SimDisk) -> Run {
        let options = LogOptions { must_exist: true, ..self.options };
        let next =
            Run::start(disk, options).unwrap_or_else(|e| panic!("a crash made the log unreadable: {e:?}"));
        assert!(
            self.allowed.contains(&next.now),
            "recovered {:#?}\nwhich is none of {:#?}",
            next.now,
            self.allowed
        );
        next
    }

    fn check_reads(&self, random: &mut Random) {
        let reader = self.log.reader();
        assert_eq!(reader.entries(0..u64::MAX, usize::MAX).unwrap(), self.now.entries);
        assert_eq!(
            (reader.vote(), reader.purged(), reader.last()),
            (self.now.vote, self.now.purged, self.now.last)
        );
        if let Some(first) = random.pick(&self.now.entries) {
            let from = first.id.index;
            let some = reader.entries(from..from + 3, 500).unwrap();
            assert_eq!(some.first(), Some(first), "at least the first one, however large");
            let rest: Vec<_> =
                self.now.entries.iter().filter(|e| e.id.index >= from).take(some.len()).collect();
            assert!(some.len() <= 3 && some.iter().eq(rest));
        }
    }
}

fn random_run(seed: u64) {
    let random = &mut Random(seed);
    let mut options = small();
    options.segment_bytes = [4096, 5120, 16384][random.below(3) as usize];
    options.tail_cache_bytes = [0, 700, 1 << 20][random.below(3) as usize];
    let mut run = Run::start(SimDisk::new(seed), options).expect("open an empty disk");
    for _ in 0..150 {
        match random.below(100) {
            0..=59 => run.give(&run.now.random_op(random)),
            60..=89 => run.flush().expect("flush"),
            90..=93 => run.check_reads(random),
            94..=95 => {
                let disk = run.disk.crash();
                run = run.reopen(disk);
            }
            96 => {
                let disk = run.disk.kill();
                run = run.reopen(disk);
            }
            // The flush fails somewhere inside, the process stops; the machine perhaps as well.
            _ => {
                let fault = [Fault::Eio, Fault::NoSpace, Fault::PowerLoss][random.below(3) as usize];
                run.disk.inject(run.disk.operations() + random.below(3), fault);
                run.give(&run.now.random_op(random));
                if run.flush().is_err() {
                    run.give(&Op::SaveVote(Vote { term: 1 << 40, member: None, committed: false }));
                    run.allowed.pop();
                    assert!(matches!(run.flush(), Err(StorageError::Poisoned)), "went on after a failure");
                }
                let disk = if random.below(2) == 0 { run.disk.kill() } else { run.disk.crash() };
                run = run.reopen(disk);
            }
        }
    }
    run.check_reads(random);
}

#[test]
fn random_runs_recover_to_what_was_flushed() {
    // More of them: ZKE_SEEDS=100000.
    let seeds = std::env::var("ZKE_SEEDS").map_or(150, |seeds| seeds.parse().expect("ZKE_SEEDS is a number"));
    for seed in 0..seeds {
        eprintln!("seed {seed}");
        random_run(seed);
    }
}

/// Everything the log can do, across segments that are made, filled, purged and used again.
fn script() -> Vec<Vec<Op>> {
    let mut random = Random(1);
    let mut state = State::default();
    let mut batches = Vec::new();
    for size in [1, 2, 3, 1, 4, 1, 2, 5, 1, 3, 2, 6, 1, 1, 4] {
        let mut batch = Vec::new();
        for _ in 0..size {
            let op = state.random_op(&mut random);
            state.apply(&op);
            batch.push(op);
        }
        batches.push(batch);
    }
    batches
}

/// Plays `batches` until something fails.
fn play(run: &mut Run, batches: &[Vec<Op>]) -> Result<(), StorageError> {
    for batch in batches {
        batch.iter().for_each(|op| run.give(op));
        run.flush()?;
    }
    Ok(())
}

#[test]
fn a_crash_at_every_operation_of_the_disk_is_survived() {
    let batches = script();
    let whole = SimDisk::new(0);
    let mut run = Run::start(whole.clone(), small()).unwrap();
    play(&mut run, &batches).unwrap();
    let operations = whole.operations();
    assert!(operations > 60, "the script is too short to prove much: {operations}");

    for at in 0..operations {
        for seed in 0..3 {
            let disk = SimDisk::new(seed);
            disk.inject(at, Fault::PowerLoss);
            match Run::start(disk.clone(), small()) {
                Ok(mut run) => {
                    assert!(play(&mut run, &batches).is_err(), "operation {at} was not reached");
                    let disk = disk.crash();
                    if seed == 0 {
                        crash_inside_recovery(&run, &disk);
                    }
                    run.reopen(disk);
                }
                // Died before the first open returned: nothing was promised, and nothing may be in the way.
                Err(_) => drop(Run::start(disk.crash(), small()).expect("start over")),
            }
        }
    }
}

/// The process stops at a failed operation, another one goes on with what the kernel still has, then the power fails.
#[test]
fn a_failure_at_every_operation_of_the_disk_is_survived() {
    let batches = script();
    for fault in [Fault::Eio, Fault::NoSpace] {
        for at in 0.. {
            let disk = SimDisk::new(at);
            disk.inject(at, fault);
            let Ok(mut run) = Run::start(disk.clone(), small()) else { continue };
            if play(&mut run, &batches).is_ok() {
                break;
            }
            let disk = disk.kill();
            let mut run = run.reopen(disk);
            run.give(&run.now.random_op(&mut Random(at)));
            run.flush().unwrap();
            let disk = run.disk.crash();
            run.reopen(disk);
        }
    }
}

/// Recovery itself is interrupted at each of its operations.
fn crash_inside_recovery(run: &Run, crashed: &SimDisk) {
    for at in 0.. {
        let disk = crashed.fork();
        disk.inject(disk.operations() + at, Fault::PowerLoss);
        if Log::open(disk.clone(), small()).is_ok() {
            return;
        }
        let (log, recovered) = Log::open(disk.crash(), small()).expect("recover after a crash in recovery");
        assert!(run.allowed.contains(&State::of(&recovered, &log.reader())));
    }
}

#[test]
fn what_recovery_reported_survives_a_power_loss_right_after_it() {
    for seed in 0..300 {
        let random = &mut Random(seed);
        let mut run = Run::start(SimDisk::new(seed), small()).unwrap();
        for _ in 0..10 {
            run.give(&run.now.random_op(random));
            run.flush().unwrap();
        }
        run.give(&run.now.random_op(random));
        // The sync of this flush fails and its pages are marked clean: they can be read, and are not on the disk.
        run.disk.inject(run.disk.operations() + 1, Fault::Eio);
        let _ = run.flush();
        let disk = run.disk.kill();
        let run = run.reopen(disk);
        let disk = run.disk.crash();
        run.reopen(disk);
    }
}

/// The second record of a flush reached the disk, the first did not. When the log has grown up to it again, with a
/// record of the same length, it must not come back.
#[test]
fn what_was_cut_off_never_comes_back() {
    let entry = |index, fill| {
        Op::Append(vec![Entry {
            id: LogId { term: 1, index },
            payload: Payload::Proposal(Bytes::from(vec![fill; 1000])),
        }])
    };
    let mut torn = 0;
    for seed in 0..500 {
        let mut run = Run::start(SimDisk::new(seed), small()).unwrap();
        run.give(&entry(0, b'a'));
        run.flush().unwrap();
        run.give(&entry(1, b'b'));
        run.give(&entry(2, b'c'));
        run.disk.inject(run.disk.operations() + 1, Fault::PowerLoss);
        assert!(run.flush().is_err());
        let disk = run.disk.crash();
        run = run.reopen(disk);
        if run.now.last.is_some_and(|last| last.index > 0) {
            continue;
        }
        torn += usize::from(run.torn);
        run.give(&entry(1, b'd'));
        run.flush().unwrap();
        let disk = run.disk.crash();
        run.reopen(disk);
    }
    assert!(torn > 20, "only {torn} of the flushes were torn in this way");
}

#[test]
fn a_failed_fsync_stops_the_log_for_good() {
    let disk = SimDisk::new(0);
    let mut run = Run::start(disk.clone(), small()).unwrap();
    let vote = |term| Op::SaveVote(Vote { term, member: Some(1), committed: false });
    run.give(&vote(1));
    disk.inject(disk.operations() + 1, Fault::Eio);
    assert!(matches!(run.flush(), Err(StorageError::Io { attempt: "sync", .. })));
    let operations = disk.operations();
    for term in 2..5 {
        run.give(&vote(term));
        assert!(matches!(run.flush(), Err(StorageError::Poisoned)));
    }
    assert_eq!(disk.operations(), operations, "the disk was touched again");
}

#[test]
fn purged_segments_are_used_again_and_the_disk_stays_small() {
    let disk = SimDisk::new(3);
    let mut run = Run::start(disk.clone(), small()).unwrap();
    let mut random = Random(9);
    for index in 0..2000 {
        run.give(&Op::Append(vec![random.entry(1, index)]));
        run.flush().unwrap();
        if index % 20 == 19 {
            run.give(&Op::Purge(run.now.entries[run.now.entries.len() - 10].id));
            run.flush().unwrap();
        }
    }
    let files = zke_storage::Disk::list(&disk).unwrap();
    assert!(files.len() < 12, "{files:?}");
    assert!(files.contains(&"log.spare".to_owned()), "{files:?}");
    let disk = disk.kill();
    run.reopen(disk);
}

#[test]
fn operations_out_of_order_never_reach_the_disk() {
    let disk = SimDisk::new(0);
    let mut random = Random(0);
    let mut run = Run::start(disk.clone(), small()).unwrap();
    run.give(&Op::Append(vec![random.entry(1, 0), random.entry(1, 1)]));
    run.flush().unwrap();
    let operations = disk.operations();
    run.log.append(&[random.entry(1, 5)]);
    assert!(matches!(run.log.flush(), Err(StorageError::OutOfOrder { .. })));
    run.log.append(&[random.entry(1, 2)]);
    assert!(matches!(run.log.flush(), Err(StorageError::OutOfOrder { .. })));
    assert_eq!(disk.operations(), operations);
}
