//! The plan against a world that fails: pods die, answers get lost, the operator crashes between any two writes,
//! requests of a crashed operator arrive late, people change their mind, delete the ensemble and create it again.
//!
//! Each run is one seed and repeats exactly. While faults last, the world itself checks the invariants at every write
//! (`world`); when they stop, the ensemble must become what the spec asks for.

mod mutant;
mod operator;
mod pods;
mod random;
mod world;

use mutant::Mutant;
use operator::reconcile;
use random::Random;
use world::World;
use zke_plan::{ClaimRetention, Decision};

/// Enough to go through several scalings; a run that needs more is stuck.
const ROUNDS_WITH_FAULTS: u32 = 300;
const ROUNDS_TO_RECOVER: u32 = 400;

fn run(seed: u64) -> World {
    run_with(seed, None)
}

fn run_with(seed: u64, mutant: Option<Mutant>) -> World {
    // Shown only by a test that fails.
    println!("seed {seed}");
    let mut world = World::new(seed);
    world.mutant = mutant;
    let mut people = Random::new(seed ^ 0x5eed);
    for _ in 0..ROUNDS_WITH_FAULTS {
        if people.one_in(60) {
            world.desired.replicas = [1, 3, 5, 7][people.below(4)];
        }
        if people.one_in(40) {
            world.template.0 += 1;
        }
        if people.one_in(150) {
            world.delete_and_create();
        }
        world.tick();
        reconcile(&mut world);
    }
    world.stop_faults();
    recover(&mut world, seed);
    if !world.template.works() {
        world.template.0 += 2;
        recover(&mut world, seed);
    }
    world
}

/// Without faults the ensemble becomes what the spec asks for, or says what only a person can mend.
fn recover(world: &mut World, seed: u64) {
    let mut last = Decision::Done;
    for _ in 0..ROUNDS_TO_RECOVER {
        world.tick();
        last = reconcile(world);
        if last == Decision::Done {
            break;
        }
    }
    match last {
        Decision::Done => world.assert_ready(),
        Decision::Wait(reason) if world.excuses(&reason) => {}
        stuck => panic!("seed {seed}: faults are over, and the plan says {stuck:?}\n{world:#?}"),
    }
}

#[test]
fn every_world_ends_ready_and_breaks_no_invariant() {
    // About five seconds; ZKE_SEEDS=4000 has passed as well.
    let seeds: u64 = std::env::var("ZKE_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(500);
    let ready = (0..seeds).filter(|seed| run(*seed).is_ready()).count();
    // The others lost a volume or have a bad archive, which needs somebody; they must stay the exception.
    assert!(ready * 10 >= seeds as usize * 8, "only {ready} of {seeds} runs ended ready");
}

/// Nearly ten times what the rarest of them needs today: it takes a volume that is lost in one short moment.
const SEEDS_FOR_A_MUTANT: u64 = 3000;

#[test]
fn every_rule_that_is_broken_on_purpose_is_noticed() {
    for mutant in Mutant::ALL {
        let noticed = (0..SEEDS_FOR_A_MUTANT).find_map(|seed| {
            let panic = std::panic::catch_unwind(|| run_with(seed, Some(mutant))).err()?;
            let said = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            Some((seed, said.lines().next().unwrap_or_default().to_owned()))
        });
        let (seed, said) = noticed.unwrap_or_else(|| panic!("{mutant:?} was not noticed"));
        println!("{mutant:?} is noticed with seed {seed}: {said}");
    }
}

#[test]
fn a_seed_repeats_exactly() {
    assert_eq!(run(7).history(), run(7).history());
}

#[test]
fn without_faults_each_size_is_reached() {
    for replicas in [1, 3, 5, 7] {
        let mut world = World::new(0);
        world.stop_faults();
        world.desired.replicas = replicas;
        settle(&mut world);
        world.assert_ready();
    }
}

#[test]
fn scaling_up_and_down_with_claims_deleted() {
    let mut world = World::new(1);
    world.stop_faults();
    world.desired.when_scaled = ClaimRetention::Delete;
    for replicas in [1, 3, 5, 3, 1, 7, 1, 5] {
        world.desired.replicas = replicas;
        settle(&mut world);
        world.assert_ready();
        assert_eq!(world.claims().count() as u32, replicas);
    }
}

#[test]
fn kept_volumes_come_back_whatever_number_is_asked_for() {
    for before in [1, 3, 5] {
        for after in [1, 3, 5, 7] {
            let mut world = World::new(2);
            world.stop_faults();
            world.desired.replicas = before;
            settle(&mut world);
            let id = world.serving_ensemble();
            world.delete_and_create();
            world.desired.replicas = after;
            settle(&mut world);
            world.assert_ready();
            assert_eq!(world.serving_ensemble(), id, "{before} to {after}");
        }
    }
}

#[test]
fn volumes_retired_by_scaling_down_are_used_again() {
    let mut world = World::new(3);
    world.stop_faults();
    world.desired.when_scaled = ClaimRetention::Retain;
    settle(&mut world);
    let id = world.serving_ensemble();
    for replicas in [1, 3, 5, 3, 7, 1, 5] {
        world.desired.replicas = replicas;
        settle(&mut world);
        world.assert_ready();
        assert_eq!(world.serving_ensemble(), id, "at {replicas}");
    }
    assert_eq!(world.claims().count(), 7);
}

#[test]
fn kept_volumes_go_through_every_number_and_stay_one_ensemble() {
    let mut world = World::new(4);
    world.stop_faults();
    world.desired.when_scaled = ClaimRetention::Retain;
    settle(&mut world);
    let id = world.serving_ensemble();
    for replicas in [1, 3, 1, 5, 3] {
        world.delete_and_create();
        world.desired.replicas = replicas;
        settle(&mut world);
        world.assert_ready();
        assert_eq!(world.serving_ensemble(), id, "at {replicas}");
    }
}

#[test]
fn members_that_were_retired_and_never_removed_are_seen_off() {
    let mut world = World::new(5);
    world.stop_faults();
    world.desired.replicas = 5;
    settle(&mut world);
    world.desired.replicas = 3;
    world.leader_stops_half_way = true;
    let retired = |step: &String| step.starts_with("ChangeVoters") && !step.contains("retire: {}");
    let half_way = (0..ROUNDS_TO_RECOVER).any(|_| {
        world.tick();
        reconcile(&mut world);
        world.history().last().is_some_and(retired)
    });
    assert!(half_way, "{world:#?}");
    world.leader_stops_half_way = false;
    world.delete_and_create();
    world.desired.replicas = 5;
    settle(&mut world);
    world.assert_ready();
}

fn settle(world: &mut World) {
    let done = (0..ROUNDS_TO_RECOVER).any(|_| {
        world.tick();
        reconcile(world) == Decision::Done
    });
    assert!(done, "{world:#?}");
}
