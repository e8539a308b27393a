//! Versions side by side: the next apply level comes once every member has it, and a member without it stops.

use std::time::Duration;

use zke_consensus::Options;
use zke_sim::commands::create;
use zke_sim::{World, world};

const DEADLINE: Duration = Duration::from_secs(10);
/// The leader looks twice a second.
const RAISED: Duration = Duration::from_secs(2);
const OLD: u32 = 1;
const NEW: u32 = 2;
const MEMBERS: usize = 3;

/// Writes through each member that runs, whose times go into the digest: so a level that is not the others' shows.
async fn write(world: &World, name: &str) {
    for member in world.running() {
        if !world.serves(member) {
            continue;
        }
        world.sleep(Duration::from_millis(7)).await;
        world.propose_and_wait(member, create(format!("/{name}-{member}"))).await;
    }
}

fn levels(world: &World) -> Vec<u32> {
    world.running().into_iter().map(|member| world.member(member).state().read().apply_level()).collect()
}

/// Upgrades one member after another, with writes between.
async fn upgrade_all(world: &World) {
    for member in 0..MEMBERS {
        write(world, &format!("before-{member}")).await;
        world.sleep(RAISED).await;
        assert_eq!(levels(world), [OLD; MEMBERS], "not everybody has the next level");
        world.install(member, NEW);
        world.restart(member).await;
        world.wait_all_serving(DEADLINE).await;
    }
    assert!(world.holds_within(RAISED, || levels(world) == [NEW; MEMBERS]).await, "{:?}", levels(world));
    write(world, "after").await;
    world.wait_equal(DEADLINE).await;
}

#[test]
fn the_apply_level_rises_when_the_last_member_was_upgraded() {
    for seed in 0..10 {
        world::run(seed, |world| async move {
            world.start_with_session(MEMBERS).await;
            upgrade_all(&world).await;
            // It is in the log and survives whoever leads.
            let leader = world.leader().expect("it serves");
            world.crash(leader).await;
            world.wait_all_serving(DEADLINE).await;
            world.crash_all().await;
            world.restart_all().await;
            world.wait_all_serving(DEADLINE).await;
            assert_eq!(levels(&world), [NEW; MEMBERS]);
            write(&world, "again").await;
            world.wait_equal(DEADLINE).await;
        });
    }
}

#[test]
fn a_member_without_the_apply_level_stops_and_the_others_go_on() {
    // Few entries to a snapshot: by the seed, the old version meets the level in the log or in a snapshot.
    for (seed, snapshot_entries) in [(0, 1_000), (1, 1_000), (2, 8), (3, 8), (4, 8)] {
        let options = Options { snapshot_entries, keep_entries: 4, ..Options::default() };
        world::run_with(seed, options, |world| async move {
            world.start_with_session(MEMBERS).await;
            upgrade_all(&world).await;
            let member = 1;
            world.install(member, OLD);
            world.end(member, world::End::Stop).await;
            let starts = world.starts(member).await;
            assert!(
                !starts || world.holds_within(DEADLINE, || !world.is_well(member)).await,
                "it goes on without the level"
            );
            world.end(member, world::End::Stop).await;
            write(&world, "without").await;
            // Nothing is lost: the right version goes on from where it was.
            world.install(member, NEW);
            world.boot(member).await;
            world.wait_all_serving(DEADLINE).await;
            world.wait_equal(DEADLINE).await;
        });
    }
}

#[test]
fn a_member_that_was_upgraded_and_taken_back_before_the_last_one_holds_the_apply_level_back() {
    world::run(7, |world| async move {
        world.start_with_session(MEMBERS).await;
        for (member, level) in [(0, NEW), (1, NEW), (0, OLD), (2, NEW)] {
            world.install(member, level);
            world.restart(member).await;
            world.wait_all_serving(DEADLINE).await;
        }
        write(&world, "mixed").await;
        world.sleep(RAISED).await;
        assert_eq!(levels(&world), [OLD; MEMBERS]);
        world.wait_equal(DEADLINE).await;
    });
}

#[test]
fn a_blank_member_without_the_apply_level_does_not_come_in() {
    world::run(9, |world| async move {
        world.start_with_session(MEMBERS).await;
        upgrade_all(&world).await;
        let leader = world.leader().expect("it serves");
        let blank = world.start_blank().await;
        let admin = world.member(leader);
        let epoch = admin.take_control().await.expect("this member leads");
        let status = admin.status();
        let (ensemble, id) = (status.identity.ensemble, world.member(blank).origin().member);
        world.member(blank).join(ensemble.expect("it serves"), id).expect("it is blank");
        // Whether the learner comes along is not for this call to say.
        let _ = admin.add_learner(epoch, status.config_index, id, world.node(blank)).await;
        assert!(world.holds_within(DEADLINE, || !world.is_well(blank)).await, "it goes on without the level");
        write(&world, "without").await;
        world.end(blank, world::End::Stop).await;
        world.install(blank, NEW);
        world.boot(blank).await;
        world.wait_serving(blank, DEADLINE).await;
        world.wait_equal(DEADLINE).await;
    });
}
