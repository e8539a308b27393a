//! Disks that are slow rather than broken: every flush of a log takes virtual time.

use std::ops::Range;
use std::time::Duration;

use zke_consensus::{Options, Role};
use zke_sim::commands::create;
use zke_sim::random::{self, Crowd};
use zke_sim::world::End;
use zke_sim::{World, world};

const DEADLINE: Duration = Duration::from_secs(10);
const SLOW_MS: Range<u64> = 100..5_000;
/// Of a flush under a leader: it hands over, and may be back before it gives its disk up, or not.
const HANGS_MS: [u64; 2] = [2_500, 30_000];
/// A process whose disk hung for so long under its leader ends.
const GIVES_UP_MS: u64 = 3_000;
/// A write that two quick disks have takes no longer, whatever the third one does.
const WRITE_MAX: Duration = Duration::from_millis(500);

/// Writes on a member, and returns how long that took.
async fn write(world: &World, member: usize, path: &str) -> Duration {
    let before_us = world.chronicle().now_us();
    world.propose_and_wait(member, create(path)).await;
    Duration::from_micros(world.chronicle().now_us() - before_us)
}

#[test]
fn a_followers_slow_disk_moves_no_leader_and_holds_up_no_write() {
    for seed in 0..6 {
        world::run(seed, move |world| async move {
            let leader = world.start_with_session(3).await;
            let (slow, other) = ((leader + 1) % 3, (leader + 2) % 3);
            let term = world.member(leader).status().term;
            world.set_flush_time_ms(slow, Some(SLOW_MS));
            for number in 0..400 {
                let member = if number % 2 == 0 { leader } else { other };
                let took = write(&world, member, &format!("/write-{number}")).await;
                assert!(took < WRITE_MAX, "seed {seed}: write {number} took {took:?}");
                world.sleep(Duration::from_millis(25)).await;
            }
            world.set_flush_time_ms(slow, None);
            world.wait_equal(DEADLINE).await;
            world.sleep(Duration::from_secs(1)).await;
            let status = world.member(leader).status();
            assert_eq!((world.leader(), status.term), (Some(leader), term), "seed {seed}");
        });
    }
}

/// The others commit without the leader's disk, so nothing but the watch over its flushes ends the term.
#[test]
fn a_leader_whose_flush_hangs_hands_over_and_the_others_serve_on() {
    for (seed, hang_ms) in (0..6).zip(HANGS_MS.into_iter().cycle()) {
        world::run(seed, move |world| async move {
            let hung = world.start_with_session(3).await;
            let others = [(hung + 1) % 3, (hung + 2) % 3];
            world.set_flush_time_ms(hung, Some(hang_ms..hang_ms + 1));
            let begun_us = world.chronicle().now_us();
            let since_us = || world.chronicle().now_us() - begun_us;
            let (mut moved_us, mut number) = (None, 0);
            while since_us() < 5_000_000 {
                let took = write(&world, others[number % 2], &format!("/write-{number}")).await;
                assert!(took < WRITE_MAX, "seed {seed}: write {number} took {took:?}");
                for member in others {
                    assert!(world.serves(member), "seed {seed}: member {member} turned its clients away");
                }
                if others.iter().any(|member| world.member(*member).status().role == Role::Leader) {
                    moved_us = moved_us.or(Some(since_us()));
                }
                number += 1;
                world.sleep(Duration::from_millis(10)).await;
            }
            assert!(
                moved_us.is_some_and(|moved_us| (1_000_000..1_500_000).contains(&moved_us)),
                "seed {seed}: another member leads after {moved_us:?} us"
            );
            world.set_flush_time_ms(hung, None);
            if hang_ms > GIVES_UP_MS {
                assert!(!world.is_well(hung), "seed {seed}: it cannot save a vote");
                world.end(hung, End::Kill).await;
                world.boot(hung).await;
            }
            world.wait_equal(DEADLINE).await;
            assert!(world.is_well(hung), "seed {seed}: its disk was slow, and not broken");
        });
    }
}

/// All flushes take their time when all members lose their power; what clients were told is there.
#[test]
fn nothing_acknowledged_is_lost_with_the_power_in_a_slow_flush() {
    for seed in 0..6 {
        let outcome = random::judged(seed, Options::default(), |world| async move {
            world.start_with_session(3).await;
            let crowd = Crowd::start(&world, 4);
            for _ in 0..3 {
                world.sleep(Duration::from_millis(300)).await;
                (0..3).for_each(|member| world.set_flush_time_ms(member, Some(100..700)));
                world.sleep(Duration::from_millis(900)).await;
                world.crash_all().await;
                (0..3).for_each(|member| world.set_flush_time_ms(member, None));
                world.restart_all().await;
                world.wait_all_serving(DEADLINE).await;
            }
            crowd.end(&world).await;
        });
        assert!(outcome.findings.is_empty(), "{outcome}");
    }
}
