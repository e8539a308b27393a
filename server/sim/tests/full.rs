//! Volumes that fill up: what would grow the tree is refused, all else goes on, and so does everything once there is room.

use std::time::Duration;

use zke_sim::commands::{create, delete};
use zke_sim::world::End;
use zke_sim::{World, world};

const DEADLINE: Duration = Duration::from_secs(10);
/// A member looks at its volume twice a second, and its leader hears of it at once.
const NOTICED: Duration = Duration::from_millis(1_500);
const MEMBERS: usize = 3;

/// Nobody else leaves a byte of room on the volumes of these members, or takes it away again.
async fn fill(world: &World, members: &[usize], full: bool) {
    for member in members {
        world.set_full(*member, full);
    }
    world.sleep(NOTICED).await;
    for member in members {
        assert_eq!(world.member(*member).status().low_on_space, full, "member {member}");
    }
}

/// Whether a create through each member is taken; never on some members only.
async fn grows(world: &World, path: &str) -> bool {
    let mut taken = Vec::new();
    for member in 0..MEMBERS {
        let path = format!("{path}-{member}");
        world.propose_and_wait(member, create(&path)).await;
        taken.push(world.exists(member, &path));
    }
    assert!(taken.iter().all(|one| *one == taken[0]), "{taken:?}");
    taken[0]
}

#[test]
fn growth_is_refused_while_all_volumes_are_full_and_deletes_go_on() {
    for seed in 0..5 {
        world::run(seed, move |world| async move {
            world.start_with_session(MEMBERS).await;
            let all = [0, 1, 2];
            assert!(grows(&world, "/before").await);
            fill(&world, &all, true).await;
            assert!(!grows(&world, "/while").await, "seed {seed}");
            // More than two segments of them: the log goes on in its reserve, and purges.
            let nowhere = format!("/{}", "x".repeat(1_000));
            for round in 0..150 {
                world.propose_and_wait(round % MEMBERS, delete(&nowhere)).await;
            }
            world.propose_and_wait(0, delete("/before-0")).await;
            assert!(!world.exists(1, "/before-0"), "seed {seed}");
            fill(&world, &all, false).await;
            assert!(grows(&world, "/after").await, "seed {seed}");
            world.wait_equal(DEADLINE).await;
        });
    }
}

#[test]
fn the_leaders_full_volume_counts_and_that_of_one_follower_does_not() {
    for seed in 0..5 {
        world::run(seed, move |world| async move {
            let leader = world.start_with_session(MEMBERS).await;
            let follower = (leader + 1) % MEMBERS;
            fill(&world, &[follower], true).await;
            assert!(grows(&world, "/one-follower").await, "seed {seed}");
            fill(&world, &[follower], false).await;
            fill(&world, &[leader], true).await;
            assert!(!grows(&world, "/leader").await, "seed {seed}");
            fill(&world, &[leader], false).await;
            assert!(grows(&world, "/nobody").await, "seed {seed}");
            world.wait_equal(DEADLINE).await;
        });
    }
}

#[test]
fn a_member_starts_on_a_full_volume() {
    for seed in 0..5 {
        world::run(seed, move |world| async move {
            world.start_with_session(MEMBERS).await;
            fill(&world, &[0, 1, 2], true).await;
            for member in 0..MEMBERS {
                world.end(member, End::PowerLoss).await;
                world.set_full(member, true);
            }
            for member in 0..MEMBERS {
                world.boot(member).await;
            }
            world.wait_all_serving(DEADLINE).await;
            world.propose_and_wait(0, delete("/nobody-has-this")).await;
            for member in 0..MEMBERS {
                world.set_full(member, false);
            }
            world.sleep(NOTICED).await;
            assert!(grows(&world, "/after").await, "seed {seed}");
            world.wait_equal(DEADLINE).await;
        });
    }
}
