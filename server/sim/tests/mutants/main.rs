//! Each way of being wrong on purpose is found, by the oracle and the seed or script that `docs/simulation.md` names.
//!
//! A mutant is made by the environment of a process, so each is tried in a process of its own: this test, again.
#![allow(clippy::print_stdout, reason = "the table is what the test is for")]

mod scripts;
mod sources;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use zke_sim::random;
use zke_tree::fault::MUTANTS;

/// What finds a mutant: in a random run, and in a test of `scripts` where its moment is rare.
struct Find {
    mutant: &'static str,
    oracle: &'static str,
    seed: u64,
    /// The oracle by which it finds the mutant, and its name.
    script: Option<(&'static str, &'static str)>,
}

const fn find(mutant: &'static str, oracle: &'static str, seed: u64) -> Find {
    Find { mutant, oracle, seed, script: None }
}

#[derive(Debug, Clone, Copy)]
enum By {
    Seed(u64),
    Script(&'static str),
}

impl Find {
    fn ways(&self) -> impl Iterator<Item = (&'static str, &'static str, By)> {
        let script = self.script.map(|(oracle, name)| (oracle, By::Script(name)));
        let ways = [(self.oracle, By::Seed(self.seed))].into_iter().chain(script);
        ways.map(|(oracle, by)| (self.mutant, oracle, by))
    }

    const fn and_by(self, oracle: &'static str, script: &'static str) -> Find {
        Find { script: Some((oracle, script)), ..self }
    }
}

/// A change that moves a seed's events may ask for another seed: the long test below finds them.
const FINDS: [Find; 15] = [
    find("ack-before-fsync", "START", 1),
    find("no-directory-sync", "START", 13).and_by("DUR", "segments_of_the_log_survive_a_power_loss"),
    find("unsynced-vote", "EQ", 4).and_by("EQ", "no_term_has_two_leaders_when_all_lost_their_power"),
    find("unsynced-snapshot", "START", 5),
    find("cut-tail", "LIN", 4),
    find("reused-id", "LIVE", 13).and_by("DUR", "a_blank_disk_does_not_pass_for_the_one_that_was_lost"),
    find("out-of-order", "EQ", 3),
    find("mark-over-gap", "LIN", 24)
        .and_by("DUR", "a_command_that_raft_refused_is_not_lost_behind_one_that_it_took"),
    find("idle-sync", "SEQ", 1),
    find("deposed-sync", "SEQ", 1).and_by("SEQ", "a_deposed_leader_answers_no_sync"),
    find("barrier-asked-once", "LIVE", 7)
        .and_by("LIVE", "a_barrier_that_a_silent_quorum_did_not_answer_is_asked_again"),
    find("endless-lease", "SES", 8).and_by("SES", "a_member_that_is_cut_off_serves_nobody_behind_its_lease"),
    find("hasty-expiry", "SES", 7).and_by("SES", "a_leader_that_nobody_acknowledges_lets_no_session_go"),
    find("left-ephemeral", "SES", 1),
    find("lost-watch", "WAT", 1),
];

/// What a finding begins with, before a colon: the checker's oracles, and the simulation's own. START is a disk on which a
/// member does not start, ASSERTION one of a member's own.
const ORACLES: [&str; 10] = ["LIN", "SEQ", "ZX", "SES", "WAT", "DUR", "EQ", "LIVE", "START", "ASSERTION"];
/// Of the real clock. A run takes some seconds and ends by itself if something in it never comes; this is for one that
/// runs in circles.
const RUN_MAX: Duration = Duration::from_secs(240);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// The machine has two cores.
const THREADS: usize = 2;

#[test]
fn each_mutant_is_found() {
    let tried: Vec<_> = FINDS.iter().flat_map(Find::ways).collect();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some((mutant, oracle, by)) = tried.get(next.fetch_add(1, Relaxed)) {
                    let found = found(mutant, *by);
                    assert!(
                        found.contains(*oracle),
                        "{mutant} is found by {found:?} with {by:?}, not by {oracle}"
                    );
                }
            });
        }
    });
}

#[test]
fn each_mutant_has_its_place_in_the_sources_and_its_row_in_the_document() {
    let all: Vec<String> = MUTANTS.map(str::to_owned).to_vec();
    let found: Vec<_> = FINDS.iter().map(|find| find.mutant.to_owned()).collect();
    assert_eq!(found, all, "each is to be found, in the order of zke_tree::fault");
    let asked = sources::mutants_asked_for().expect("the sources can be read");
    assert_eq!(asked, all.iter().cloned().collect::<BTreeSet<_>>(), "each stands in the sources");
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/simulation.md");
    let document = fs::read_to_string(document).expect("the document can be read");
    let rows: Vec<_> = document.lines().filter_map(row).collect();
    let expected: Vec<_> = FINDS
        .iter()
        .map(|find| {
            let script = find.script.map_or_else(String::new, |(oracle, name)| format!("`{name}`, {oracle}"));
            [find.mutant.to_owned(), find.oracle.to_owned(), find.seed.to_string(), script]
        })
        .collect();
    assert_eq!(rows, expected, "the table of docs/simulation.md");
}

/// Of a table's line that begins with the name of a mutant: that, the oracle, the seed, and the script if there is one. What it
/// does stands behind its name, and how many of the seeds find it last.
fn row(line: &str) -> Option<[String; 4]> {
    let mut cells = line.split('|').map(str::trim);
    let (_, mutant, _does, oracle) = (cells.next()?, cells.next()?, cells.next()?, cells.next()?);
    let (seed, script) = (cells.next()?, cells.next()?);
    let mutant = mutant.strip_prefix('`')?.strip_suffix('`')?;
    MUTANTS.contains(&mutant).then(|| [mutant, oracle, seed, script].map(str::to_owned))
}

/// The oracles that find a mutant.
fn found(mutant: &str, by: By) -> BTreeSet<String> {
    match by {
        By::Seed(seed) => run(mutant, &["one_seed".to_owned(), "--ignored".to_owned()], seed),
        By::Script(name) => run(mutant, &[format!("scripts::{name}")], 0),
    }
}

/// Runs a part of this test as the mutant.
fn run(mutant: &str, part: &[String], seed: u64) -> BTreeSet<String> {
    let told = told_in(mutant, seed);
    let out = File::create(&told).expect("a file can be made");
    let mut process = Command::new(std::env::current_exe().expect("a test runs from a file"))
        .args(["--exact", "--nocapture"])
        .args(part)
        .env("ZKE_MUTANT", mutant)
        .env("ZKE_SIM_FIRST", seed.to_string())
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stderr(out.try_clone().expect("a file can be shared"))
        .stdout(out)
        .spawn()
        .expect("this test can be run again");
    let begun = Instant::now();
    while process.try_wait().expect("a process can be looked after").is_none() {
        if begun.elapsed() > RUN_MAX {
            process.kill().expect("a process can be ended");
            process.wait().expect("a process ends");
            return BTreeSet::from(["LIVE".to_owned()]);
        }
        thread::sleep(LOOK_INTERVAL);
    }
    let said = fs::read_to_string(&told).expect("what it said can be read");
    fs::remove_file(&told).expect("a file can be removed");
    let oracle = |line: &str| line.split_once(':').map(|(oracle, _)| oracle.to_owned());
    said.lines().filter_map(oracle).filter(|oracle| ORACLES.contains(&oracle.as_str())).collect()
}

fn told_in(mutant: &str, seed: u64) -> PathBuf {
    let process = std::process::id();
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("mutant-{mutant}-{seed}-{process}"))
}

#[test]
#[ignore = "a part of the other tests, in a process of its own"]
fn one_seed() {
    let seed = std::env::var("ZKE_SIM_FIRST").map_or(1, |text| text.parse().expect("a number"));
    // Behind the name of the test that stands there without an end.
    println!();
    random::run(seed).findings.iter().for_each(|finding| println!("{finding}"));
}

/// Of all mutants, or of the one in `ZKE_MUTANT_ONLY`.
#[test]
#[ignore = "long; ZKE_SIM_SEEDS chooses how many"]
fn which_seeds_find_which_mutant() {
    let seeds = std::env::var("ZKE_SIM_SEEDS").map_or(20, |text| text.parse().expect("a number"));
    let only = std::env::var("ZKE_MUTANT_ONLY").ok();
    for mutant in MUTANTS.iter().filter(|mutant| only.as_deref().is_none_or(|only| only == **mutant)) {
        let found: Vec<_> = (1..=seeds).map(|seed| (seed, found(mutant, By::Seed(seed)))).collect();
        let by: Vec<_> = found.iter().filter(|(_, by)| !by.is_empty()).collect();
        println!("{mutant}: {} of {seeds}: {by:?}", by.len());
    }
}
