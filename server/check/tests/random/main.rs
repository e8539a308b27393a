//! Histories of a right server are never refused, and those of a wrong one nearly always are.
//!
//! A failure names its seed, and a seed is the whole run.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod run;
mod server;

use run::run;
use server::Bug;
use zke_check::event::Event;
use zke_check::{History, Options, Report, Verdict, check};

fn read(events: &[Event]) -> History {
    let lines: Vec<String> =
        events.iter().map(|event| serde_json::to_string(event).unwrap() + "\n").collect();
    History::read(lines.concat().as_bytes()).unwrap()
}

fn judge(events: &[Event]) -> Report {
    // A build without optimisation gets through so many in a second or so.
    check(&read(events), &Options { search_steps: 100_000, ..Options::default() })
}

#[test]
fn no_history_of_a_right_server_is_refused() {
    let mut undecided = 0;
    for seed in 0..400 {
        let loses = [0.0, 0.02, 0.1][seed as usize % 3];
        let run = run(seed, 3 + seed as usize % 3, 400, loses, None);
        let report = judge(&run.events);
        assert_ne!(report.verdict(), Verdict::Wrong, "seed {seed}:\n{report}");
        undecided += usize::from(report.verdict() == Verdict::Undecided);
    }
    assert!(undecided <= 8, "{undecided} of 400 were too hard");
}

/// How many of a hundred histories of each wrong server have to be refused. What is missing can be explained: an
/// operation of unknown outcome may have done it, or nobody looked.
#[test]
fn wrong_servers_are_caught() {
    let bars = [
        (Bug::LostWrite, 95),
        (Bug::HalfMulti, 95),
        (Bug::DoneTwice, 90),
        (Bug::SharedZxid, 95),
        (Bug::IdleSync, 95),
        (Bug::FallingBack, 95),
        (Bug::LostEvent, 80),
        (Bug::DoubledEvent, 95),
        (Bug::LateEvent, 80),
        (Bug::LeftEphemeral, 95),
        (Bug::EarlyExpiry, 80),
        (Bug::OldData, 95),
        (Bug::NoCatchingUp, 45),
    ];
    let mut missed = Vec::new();
    for (bug, bar) in bars {
        let (mut struck, mut caught, mut undecided) = (0, 0, 0);
        // Some bugs have few occasions.
        for seed in 0..1_500 {
            if struck == 60 {
                break;
            }
            let run = run(seed, 4, 300, 0.03, Some(bug));
            if run.injected == 0 {
                continue;
            }
            struck += 1;
            match judge(&run.events).verdict() {
                Verdict::Wrong => caught += 1,
                Verdict::Undecided => undecided += 1,
                Verdict::Right => {}
            }
        }
        println!("{bug:?}: {caught} of {struck} caught, {undecided} undecided");
        if struck < 10 || caught * 100 < struck * bar {
            missed.push((bug, caught, struck));
        }
    }
    assert!(missed.is_empty(), "too few caught: {missed:?}");
}

/// Lines that are changed afterwards, as a slip of a writer or a disk would.
#[test]
fn changed_lines_are_refused() {
    let mut refused = 0;
    let mut tried = 0;
    for seed in 0..100 {
        let run = run(seed, 4, 300, 0.0, None);
        for kind in 0..4 {
            let mut events = run.events.clone();
            if !change(&mut events, kind) {
                continue;
            }
            tried += 1;
            let refuses = judge(&events).verdict() == Verdict::Wrong;
            refused += usize::from(refuses);
            assert!(refuses || kind == 3, "seed {seed}, change {kind}");
        }
    }
    assert!(tried > 300 && refused * 100 >= tried * 90, "{refused} of {tried}");
}

/// False if there was nothing to change.
fn change(events: &mut Vec<Event>, kind: usize) -> bool {
    let middle = events.len() / 3;
    match kind {
        // An acknowledged version is one more.
        0 => events[middle..].iter_mut().any(|event| match event {
            Event::Return { ok: Some(answer), .. } => {
                answer.stat.as_mut().map(|stat| stat.version += 1).is_some()
            }
            _ => false,
        }),
        // Two clients got each other's data.
        1 => {
            let mut data = events[middle..].iter_mut().filter_map(|event| match event {
                Event::Return { ok: Some(answer), .. } => answer.data.as_mut(),
                _ => None,
            });
            let Some(first) = data.next() else { return false };
            data.find(|other| *other != first).map(|other| std::mem::swap(first, other)).is_some()
        }
        // A node is missing in the dump.
        2 => {
            let node = events.iter().rposition(
                |event| matches!(event, Event::Node { stat, .. } if stat.ephemeral_owner == 0 && stat.czxid > 0 && stat.num_children == 0),
            );
            let Some(node) = node else { return false };
            events.remove(node);
            events.iter_mut().for_each(|event| {
                if let Event::Dump { nodes, .. } = event {
                    *nodes -= 1;
                }
            });
            true
        }
        // An event is missing.
        _ => {
            let watch = events[middle..].iter().position(|event| matches!(event, Event::Watch { .. }));
            watch.map(|index| events.remove(middle + index)).is_some()
        }
    }
}
