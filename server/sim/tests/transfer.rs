//! A member far behind gets a snapshot over streams that break, and loses its power in the middle of it.

use std::time::Duration;

use zke_consensus::Options;
use zke_sim::commands::{create, create_with};
use zke_sim::network::Weather;
use zke_sim::world::End;
use zke_sim::{World, world};

const DEADLINE: Duration = Duration::from_secs(60);
const SEEDS: std::ops::Range<u64> = 1..4;
/// The stream of one frame in so many breaks: a snapshot of 12 MiB is 48 pieces, each of them answered.
const BREAKS_ONE_IN: u32 = 40;
const NODES: usize = 48;
const NODE_BYTES: usize = 256 << 10;
/// More than a snapshot takes; the log before it is purged in steps of about a thousand entries.
const SMALL_NODES: usize = 1_400;
const SNAPSHOT_ENTRIES: u64 = 1_300;
const SNAPSHOT_BYTES: u64 = (NODES * NODE_BYTES) as u64;
/// What a receiver may not have synced.
const UNSYNCED_BYTES: u64 = 4 << 20;

/// Leaves one member so far behind that only a snapshot brings it back. Returns its number.
async fn left_behind(world: &World) -> usize {
    let leader = world.start_with_session(3).await;
    let behind = (leader + 1) % 3;
    world.end(behind, End::Kill).await;
    for node in 0..NODES {
        world.propose_and_wait(leader, create_with(format!("/large-{node}"), vec![7; NODE_BYTES])).await;
    }
    let mut last = 0;
    for node in 0..SMALL_NODES {
        last = world.propose(leader, create(format!("/small-{node}")));
        // So that each is an entry of its own.
        world.sleep(Duration::from_millis(2)).await;
    }
    world.wait_own(leader, last).await;
    // The snapshot is taken, and the log behind it purged.
    world.sleep(Duration::from_secs(1)).await;
    behind
}

#[test]
fn a_snapshot_over_streams_that_break_is_sent_little_more_than_once() {
    for seed in SEEDS {
        // One snapshot, behind the large nodes and before the last of the small ones.
        let options = Options { snapshot_entries: SNAPSHOT_ENTRIES, keep_entries: 4, ..Options::default() };
        let lines = world::run_with(seed, options, move |world| async move {
            let behind = left_behind(&world).await;
            let network = world.network().clone();
            network.set_weather(Weather { breaks_one_in: BREAKS_ONE_IN, ..Weather::default() });
            let before = network.carried_bytes();
            let carried = || network.carried_bytes() - before;
            world.boot(behind).await;
            assert!(world.holds_within(DEADLINE, || carried() > SNAPSHOT_BYTES / 2).await, "it is under way");
            assert!(!world.exists(behind, "/large-0"), "seed {seed}: not in the middle of it");
            world.crash(behind).await;
            world.wait_equal(DEADLINE).await;
            assert!(world.exists(behind, &format!("/small-{}", SMALL_NODES - 1)));
            let most = SNAPSHOT_BYTES * 3 / 2 + UNSYNCED_BYTES;
            assert!(carried() < most, "seed {seed}: {} bytes were sent", carried());
            world.note(format!("{} bytes were sent for {SNAPSHOT_BYTES}", carried()));
            network.set_weather(Weather::default());
        });
        let installs = lines.iter().filter(|line| line.to_string().contains("installed a snapshot")).count();
        assert_eq!(installs, 1, "seed {seed}: {lines:#?}");
    }
}
