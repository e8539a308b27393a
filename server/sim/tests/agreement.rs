//! A member whose state is not the others' goes, and its disk does not serve again.

use std::time::Duration;

use zke_sim::commands::delete;
use zke_sim::world::End;
use zke_sim::{World, world};

const DEADLINE: Duration = Duration::from_secs(10);
const SEEDS: std::ops::Range<u64> = 0..3;
/// More entries than from one comparison to the next.
const WRITES: usize = 300;

/// What a bit that flips in a member's memory does.
fn damage(world: &World, member: usize) {
    world.member(member).state().write().damage();
}

async fn write(world: &World, member: usize) {
    for _ in 0..WRITES {
        world.propose_and_wait(member, delete("/nobody-has-this")).await;
    }
}

#[test]
fn a_member_that_a_majority_contradicts_ends_and_does_not_start_again() {
    for (seed, leads) in SEEDS.flat_map(|seed| [(seed, false), (seed, true)]) {
        world::run(seed, move |world| async move {
            let leader = world.start_with_session(3).await;
            let wrong = if leads { leader } else { (leader + 1) % 3 };
            let other = (leader + 2) % 3;
            damage(&world, wrong);
            write(&world, other).await;
            assert!(world.holds_within(DEADLINE, || !world.is_well(wrong)).await, "seed {seed}: it goes on");
            world.end(wrong, End::Kill).await;
            write(&world, other).await;
            assert!(!world.starts(wrong).await, "seed {seed}: its disk is used again");
            assert!(world.leader().is_some_and(|leader| leader != wrong), "seed {seed}");
            assert!(world.serves(other), "seed {seed}");
        });
    }
}

#[test]
fn without_a_majority_all_go_on_and_an_alarm_is_raised() {
    for seed in SEEDS {
        world::run(seed, move |world| async move {
            let leader = world.start_with_session(3).await;
            let others = [(leader + 1) % 3, (leader + 2) % 3];
            damage(&world, others[0]);
            damage(&world, others[1]);
            damage(&world, others[1]);
            write(&world, leader).await;
            let alarmed = || world.member(leader).status().disagreements > 0;
            assert!(world.holds_within(DEADLINE, alarmed).await, "seed {seed}: nobody noticed");
            write(&world, leader).await;
            assert!((0..3).all(|member| world.is_well(member)), "seed {seed}: one was told to go");
        });
    }
}
