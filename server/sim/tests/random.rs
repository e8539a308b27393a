//! Random clients under random faults, judged by the checker. `ZKE_SIM_SEEDS` and `ZKE_SIM_FIRST` choose the seeds.
#![allow(clippy::print_stdout, reason = "a failed seed tells what happened")]

use std::time::Instant;

use zke_sim::random;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn no_seed_shows_clients_what_a_right_ensemble_could_not() {
    let (first, seeds) = (number("ZKE_SIM_FIRST", 1), number("ZKE_SIM_SEEDS", 6));
    let mut failed = Vec::new();
    for seed in first..first + seeds {
        let begun = Instant::now();
        let outcome = random::run(seed);
        println!("seed {seed}: {} ({} ms)", outcome.summary, begun.elapsed().as_millis());
        if !outcome.findings.is_empty() {
            println!("{outcome}");
            failed.push(seed);
        }
    }
    assert!(failed.is_empty(), "seeds {failed:?} failed; what happened stands above");
}

#[test]
fn one_seed_is_one_run() {
    let first = random::run(2);
    assert!(first.lines.len() > 1_000, "something happened");
    let again = random::run(2);
    if let Some(place) = first.lines.iter().zip(&again.lines).position(|(one, other)| one != other) {
        for line in &first.lines[place.saturating_sub(10)..place] {
            println!("{line}");
        }
        panic!("the same seed went on differently: {} or {}", first.lines[place], again.lines[place]);
    }
    assert_eq!(first.lines.len(), again.lines.len());
    assert!(first.lines != random::run(3).lines);
}
