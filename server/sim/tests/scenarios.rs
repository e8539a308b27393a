//! Two moments that once lost something, played at many lengths of the silence that brings them about.

use std::collections::BTreeSet;
use std::process::Command as Program;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use zke_sim::{World, world};
use zke_tree::{Command, WriteOp};
use zke_wire::{Acl, SessionId};

const SESSION: SessionId = SessionId(0x1111);
const DEADLINE: Duration = Duration::from_secs(10);
/// A quorum that is silent for so long makes its leader refuse, and lets it lead on, more often than not.
const SILENCES_MS: std::ops::Range<u64> = 100..400;

fn create(path: String) -> Command {
    let (data, acl) = (Some(Bytes::from_static(b"data")), vec![Acl::open()]);
    let op = WriteOp::Create { path, data, acl, flags: 0, with_stat: false };
    Command::Client { session: SESSION, attach_epoch: 0, identities: Vec::new(), op }
}

async fn started(world: &World) -> usize {
    world.start_members(3).await;
    world.wait_all_serving(DEADLINE).await;
    let session = Command::CreateSession { session: SESSION, password: [1; 16], timeout_ms: 30_000 };
    world.propose_and_wait(0, session).await;
    world.leader().expect("writes were acknowledged, so somebody leads")
}

/// Raft refuses a batch and takes the next one of the same member: both have to come again, in their order.
#[test]
fn a_command_that_raft_refused_is_not_lost_behind_one_that_it_took() {
    for (seed, silence_ms) in (0..).zip(SILENCES_MS.step_by(10)) {
        world::run(seed, move |world| async move {
            let leader = started(&world).await;
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
                    "seed {seed}: {path} was lost in a silence of {silence_ms} ms"
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
            let leader = started(&world).await;
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
                "seed {seed}: {reached:?} of {asked} barriers were answered after a silence of {silence_ms} ms"
            );
        });
    }
}

/// Each of them is about a fault that was mended, and fails where the fault is there again.
#[test]
fn each_fails_where_its_fault_is_not_mended() {
    for (mutant, scenario, complaint) in [
        ("mark-over-gap", "a_command_that_raft_refused_is_not_lost_behind_one_that_it_took", "was lost"),
        (
            "barrier-asked-once",
            "a_barrier_that_a_silent_quorum_did_not_answer_is_asked_again",
            "barriers were answered",
        ),
    ] {
        let program = std::env::current_exe().expect("a test runs from a file");
        let run = Program::new(program)
            .args(["--exact", scenario, "--nocapture"])
            .env("ZKE_MUTANT", mutant)
            .output();
        let output = run.expect("this test can be run again");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(complaint), "{mutant} was not noticed: {said}");
    }
}
