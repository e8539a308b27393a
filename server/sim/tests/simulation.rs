//! A whole ensemble in one thread, from one seed: virtual time, simulated disks, a simulated network.
//!
//! The members are the real ones: the same log, Raft, links, leases and state as in production, each driven inline.

use std::collections::BTreeSet;
use std::time::Duration;

use zke_consensus::MemberStatus;
use zke_sim::chronicle::Line;
use zke_sim::commands::{SESSION, begin, create};
use zke_sim::world::End;
use zke_sim::{World, world};
use zke_tree::Command;
use zke_wire::SessionId;

/// Three members start blank, elect a leader, take writes on every member, lose their leader to a partition, go on,
/// and agree again after it heals. Returns everything that happened, with its virtual time.
fn run(seed: u64) -> Vec<Line> {
    world::run(seed, |world: World| async move {
        world.start_with_session(3).await;
        for member in 0..3 {
            world.propose_and_wait(member, create(format!("/from-{member}"))).await;
        }

        let deposed = world.leader().expect("writes were acknowledged, so somebody leads");
        world.cut_off(deposed);
        let follower = (deposed + 1) % 3;
        world.propose_and_wait(follower, create("/while-cut-off")).await;
        // Proposed where nothing can be committed; it must take effect once, after the partition heals.
        world.propose(deposed, create("/proposed-in-the-minority"));
        world.sleep(Duration::from_secs(3)).await;
        assert!(!world.serves(deposed), "a member without a leader gave up serving when its lease ended");

        world.heal();
        world.wait_all_serving(Duration::from_secs(10)).await;
        world.propose_and_wait(deposed, create("/after-healing")).await;
        world.wait_equal(Duration::from_secs(5)).await;
        for path in
            ["/from-0", "/from-1", "/from-2", "/while-cut-off", "/proposed-in-the-minority", "/after-healing"]
        {
            for member in 0..3 {
                assert!(world.exists(member, path), "{path} is missing on member {member}");
            }
        }
    })
}

#[test]
fn one_seed_is_one_history() {
    let first = run(7);
    assert_eq!(first, run(7));
    assert!(first.len() > 10, "the history has the acknowledged writes in it: {first:?}");
    assert_ne!(first, run(8));
}

#[test]
fn a_partitioned_leader_loses_nothing_whatever_the_seed() {
    for seed in 100..110 {
        run(seed);
    }
}

/// Every member's process is killed in the same moment, and its disk loses what was not made durable.
#[test]
fn everything_acknowledged_is_there_after_all_members_crashed() {
    for seed in 0..5 {
        world::run(seed, |world: World| async move {
            world.start_with_session(3).await;
            for write in 0..20 {
                world.propose_and_wait(write % 3, create(format!("/write-{write}"))).await;
            }
            world.crash_all().await;
            world.restart_all().await;
            world.wait_all_serving(Duration::from_secs(10)).await;
            world.wait_equal(Duration::from_secs(5)).await;
            for write in 0..20 {
                assert!(world.exists(0, &format!("/write-{write}")), "write {write} is lost");
            }
        });
    }
}

/// The leader's own disk never expires a session that a member hears from, and expires one that nobody does.
#[test]
fn a_silent_session_expires_and_a_touched_one_lives() {
    world::run(3, |world: World| async move {
        world.start_members(3).await;
        world.wait_all_serving(Duration::from_secs(10)).await;
        let silent =
            Command::CreateSession { session: SessionId(0x2222), password: [2; 16], timeout_ms: 4_000 };
        let lively = Command::CreateSession { session: SESSION, password: [1; 16], timeout_ms: 4_000 };
        world.propose_and_wait(1, silent).await;
        world.propose_and_wait(1, lively).await;
        for _ in 0..20 {
            world.touch(2, SESSION);
            world.sleep(Duration::from_millis(500)).await;
        }
        assert!(world.has_session(0, SESSION));
        assert!(!world.has_session(0, SessionId(0x2222)));
    });
}

/// Whoever is away is looked for a few times a second, however much there is for it, and found as soon as it is back.
#[test]
fn a_member_that_is_away_is_not_dialled_without_a_pause() {
    world::run(5, |world: World| async move {
        world.start_members(3).await;
        world.wait_all_serving(Duration::from_secs(10)).await;
        let away = (world.leader().expect("all serve") + 1) % 3;
        let writer = (away + 1) % 3;
        world.propose_and_wait(writer, begin()).await;
        world.end(away, End::Kill).await;
        world.sleep(Duration::from_secs(1)).await;
        let before = world.network().refused();
        for write in 0..2_000 {
            world.propose(writer, create(format!("/write-{write}")));
            world.sleep(Duration::from_millis(2)).await;
        }
        let a_second = (world.network().refused() - before) / 4;
        // Ten of replication, and a heartbeat every 50 ms.
        assert!((5..=40).contains(&a_second), "{a_second} times a second");
        world.boot(away).await;
        world.wait_serving(away, Duration::from_millis(500)).await;
    });
}

/// A member leaves for ever; its disk is refused by the others, begins anew under another id, and is a member again.
#[test]
fn a_retired_disk_comes_back_as_another_member() {
    world::run(11, |world: World| async move {
        world.start_with_session(3).await;
        world.propose_and_wait(0, create("/before")).await;

        let leader = world.leader().expect("writes were acknowledged, so somebody leads");
        let victim = (leader + 1) % 3;
        let admin = world.member(leader);
        let epoch = admin.take_control().await.expect("this member leads");
        let retired = world.member(victim).status().identity.member;
        let (status, ids) = (admin.status(), |status: &MemberStatus| status.voter_sets[0].clone());
        let remaining: BTreeSet<_> = ids(&status).into_iter().filter(|id| *id != retired).collect();
        let changed = admin.change_voters(epoch, status.config_index, remaining.clone(), [retired].into());
        let config_index = changed.await.expect("two of three agree");
        world.wait_retired(victim, Duration::from_secs(5)).await;
        let again = admin.add_learner(epoch, config_index, retired, world.node(victim)).await;
        assert!(again.is_err(), "an id is never used twice");

        let ensemble = status.identity.ensemble.expect("it serves");
        world.member(victim).join(ensemble, retired).expect("a retired disk may begin anew");
        world.restart(victim).await;
        let renewed = world.member(victim).status().identity;
        assert_ne!(renewed.member, retired);
        world.member(victim).join(ensemble, renewed.member).expect("it is blank");
        let added = admin.add_learner(epoch, config_index, renewed.member, world.node(victim)).await;
        let voters = remaining.into_iter().chain([renewed.member]).collect();
        let config_index = added.expect("a new id is welcome");
        admin.change_voters(epoch, config_index, voters, BTreeSet::new()).await.expect("all agree");
        world.wait_all_serving(Duration::from_secs(10)).await;
        world.propose_and_wait(victim, create("/after")).await;
        world.wait_equal(Duration::from_secs(5)).await;
        assert!(world.exists(victim, "/before"));
    });
}

/// A member that cannot be reached when it is retired hears of it from whoever it calls next.
#[test]
fn a_member_that_was_away_when_it_was_retired_learns_of_it() {
    world::run(12, |world: World| async move {
        world.start_with_session(3).await;
        let leader = world.leader().expect("writes were acknowledged, so somebody leads");
        let victim = (leader + 1) % 3;
        let retired = world.member(victim).status().identity.member;
        world.cut_off(victim);
        let admin = world.member(leader);
        let epoch = admin.take_control().await.expect("this member leads");
        let status = admin.status();
        let remaining = status.voter_sets[0].iter().copied().filter(|id| *id != retired).collect();
        let changed = admin.change_voters(epoch, status.config_index, remaining, [retired].into()).await;
        changed.expect("two of three agree");
        world.sleep(Duration::from_secs(10)).await;
        world.heal();
        world.wait_retired(victim, Duration::from_secs(10)).await;
    });
}
