//! Moments that random runs hardly come to, played on purpose. What fails begins with the name of an oracle.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use zke_sim::commands::{create, create_with};
use zke_sim::world::{self, End};
use zke_tree::Command;
use zke_wire::SessionId;

const DEADLINE: Duration = Duration::from_secs(10);
/// A quorum that is silent for so long makes its leader refuse, and lets it lead on, more often than not.
const SILENCES_MS: std::ops::Range<u64> = 100..400;

/// Raft refuses a batch and takes the next one of the same member: both have to come again, in their order.
#[test]
fn a_command_that_raft_refused_is_not_lost_behind_one_that_it_took() {
    for (seed, silence_ms) in (0..).zip(SILENCES_MS.step_by(10)) {
        world::run(seed, move |world| async move {
            let leader = world.start_with_session(3).await;
            world.cut_off(leader);
            let mut last = 0;
            let mut proposed = BTreeSet::new();
            // One at a time, so that each is a batch of its own; before the silence is noticed, in it, and behind it.
            for write in 0..silence_ms / 2 + 20 {
                if write == silence_ms / 2 {
                    world.heal();
                }
                let path = format!("/write-{write}");
                last = world.propose(leader, create(path.clone()));
                proposed.insert(path);
                world.sleep(Duration::from_millis(2)).await;
            }
            world.wait_own(leader, last).await;
            for path in proposed {
                assert!(
                    world.exists(leader, &path),
                    "DUR: seed {seed}: {path} was lost in a silence of {silence_ms} ms"
                );
            }
            world.wait_equal(DEADLINE).await;
        });
    }
}

/// A leader that cannot prove at once that it leads asks its quorum again: whoever waits for the barrier waits on.
#[test]
fn a_barrier_that_a_silent_quorum_did_not_answer_is_asked_again() {
    for (seed, silence_ms) in (0..).zip(SILENCES_MS.step_by(10)) {
        world::run(seed, move |world| async move {
            let leader = world.start_with_session(3).await;
            world.cut_off(leader);
            let reached = Arc::new(AtomicUsize::new(0));
            let asked = usize::try_from(silence_ms / 20).expect("a small number");
            for _ in 0..asked {
                let (ensemble, reached) = (world.member(leader), reached.clone());
                world.spawn(async move {
                    ensemble.read_barrier().await.expect("the silence is shorter than a lease");
                    reached.fetch_add(1, Relaxed);
                });
                world.sleep(Duration::from_millis(20)).await;
            }
            world.heal();
            let all = || reached.load(Relaxed) == asked;
            assert!(
                world.holds_within(Duration::from_secs(2), all).await,
                "LIVE: seed {seed}: {reached:?} of {asked} barriers were answered after a silence of {silence_ms} ms"
            );
        });
    }
}

/// Others write where a leader that was cut off does not hear of it. It may still serve, but what it knows is no answer to a
/// `sync` that was asked behind those writes.
#[test]
fn a_deposed_leader_answers_no_sync() {
    for seed in 0..3 {
        world::run(seed, move |world| async move {
            let deposed = world.start_with_session(3).await;
            world.cut_off(deposed);
            world.propose_and_wait((deposed + 1) % 3, create("/behind-its-back")).await;
            let (ensemble, answered) = (world.member(deposed), Arc::new(AtomicUsize::new(0)));
            let answers = answered.clone();
            world.spawn(async move {
                if ensemble.read_barrier().await.is_ok() {
                    answers.fetch_add(1, Relaxed);
                }
            });
            world.sleep(Duration::from_secs(3)).await;
            assert!(
                answered.load(Relaxed) == 0,
                "SEQ: seed {seed}: member {deposed} is alone and knows what is newest"
            );
        });
    }
}

/// A leader is cut off from the others, and the client of a session goes on with one of those. The leader hears nothing of
/// it; but nobody acknowledges the leader either, so it has no say in whether the session lives.
#[test]
fn a_leader_that_nobody_acknowledges_lets_no_session_go() {
    const LIVELY: SessionId = SessionId(0x2222);
    for seed in 0..3 {
        world::run(seed, move |world| async move {
            let leader = world.start_with_session(3).await;
            let other = (leader + 1) % 3;
            let begin = Command::CreateSession { session: LIVELY, password: [2; 16], timeout_ms: 4_000 };
            world.propose_and_wait(other, begin).await;
            world.cut_off(leader);
            for ping in 0..30 {
                // Twice its timeout and the lease, then back with the others.
                if ping == 25 {
                    world.heal();
                }
                world.touch(other, LIVELY);
                world.sleep(Duration::from_millis(500)).await;
            }
            world.wait_equal(DEADLINE).await;
            assert!(
                world.has_session(other, LIVELY),
                "SES: seed {seed}: a session ended that its client kept"
            );
        });
    }
}

/// A member that hears of nobody serves nobody once its lease has ended: a session may be gone by then, or another's.
#[test]
fn a_member_that_is_cut_off_serves_nobody_behind_its_lease() {
    for seed in 0..3 {
        world::run(seed, move |world| async move {
            let leader = world.start_with_session(3).await;
            for member in [(leader + 1) % 3, leader] {
                world.cut_off(member);
                let serves = || world.serves(member);
                let ended = world.holds_within(Duration::from_secs(3), || !serves()).await;
                assert!(ended, "SES: seed {seed}: member {member} is alone and serves clients");
                world.heal();
                world.wait_all_serving(DEADLINE).await;
            }
        });
    }
}

/// A disk is lost that had an acknowledged write, and the machine comes back with a blank one, while the only other disk
/// with that write is away: whoever has neither must not find a majority.
#[test]
fn a_blank_disk_does_not_pass_for_the_one_that_was_lost() {
    for seed in 0..3 {
        world::run(seed, move |world| async move {
            let leader = world.start_with_session(3).await;
            let (loses, lags) = ((leader + 1) % 3, (leader + 2) % 3);
            world.cut_off(lags);
            world.propose_and_wait(leader, create("/acknowledged")).await;
            world.end(leader, End::Kill).await;
            world.end(loses, End::PowerLoss).await;
            world.lose_disk(loses);
            world.boot(loses).await;
            world.heal();
            let leads = world.holds_within(Duration::from_secs(5), || world.leader().is_some()).await;
            assert!(
                !leads || world.exists(lags, "/acknowledged"),
                "DUR: seed {seed}: member {lags} leads by the vote of a blank disk, and lost a write"
            );
            world.boot(leader).await;
            world.wait_serving(lags, DEADLINE).await;
            assert!(world.exists(lags, "/acknowledged"), "DUR: seed {seed}: an acknowledged write is lost");
        });
    }
}

/// A leader has an entry that nobody else has, and everybody loses the power. Whoever forgot its vote then votes in the same
/// term again, and the entries of two leaders of one term cannot be told apart.
#[test]
fn no_term_has_two_leaders_when_all_lost_their_power() {
    for seed in 0..3 {
        world::run(seed, move |world| async move {
            let first = world.start_with_session(3).await;
            world.cut_off(first);
            world.propose(first, create("/of-the-first"));
            world.sleep(Duration::from_millis(20)).await;
            world.crash_all().await;
            let others = [(first + 1) % 3, (first + 2) % 3];
            for member in others {
                world.boot(member).await;
            }
            world.wait_all_serving(DEADLINE).await;
            world.propose_and_wait(others[0], create("/of-the-second")).await;
            world.boot(first).await;
            world.heal();
            world.wait_all_serving(DEADLINE).await;
            let equal = || {
                let states = [0, 1, 2].map(|member| {
                    let ensemble = world.member(member);
                    let state = ensemble.state().read();
                    (state.applied(), state.digest())
                });
                states.iter().all(|state| *state == states[0])
            };
            assert!(
                world.holds_within(DEADLINE, equal).await,
                "EQ: seed {seed}: two leaders of one term, and members that do not agree"
            );
        });
    }
}

/// Everybody has begun new segments of the log when all lose their power.
#[test]
fn segments_of_the_log_survive_a_power_loss() {
    /// Of which some thirty fill a segment.
    const BYTES: usize = 2_000;
    const WRITES: usize = 80;
    for seed in 0..3 {
        world::run(seed, move |world| async move {
            world.start_with_session(3).await;
            for write in 0..WRITES {
                world
                    .propose_and_wait(write % 3, create_with(format!("/write-{write}"), vec![b'x'; BYTES]))
                    .await;
            }
            world.crash_all().await;
            world.restart_all().await;
            world.wait_all_serving(DEADLINE).await;
            for write in 0..WRITES {
                assert!(
                    world.exists(0, &format!("/write-{write}")),
                    "DUR: seed {seed}: write {write} is lost"
                );
            }
        });
    }
}
