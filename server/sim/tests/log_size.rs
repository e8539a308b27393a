//! The log stays within its bytes, however much one entry weighs.

use std::time::Duration;

use bytes::Bytes;
use zke_consensus::Options;
use zke_sim::{commands, world};
use zke_tree::WriteOp;

const DEADLINE: Duration = Duration::from_secs(60);
const LOG_BYTES: u64 = 256 << 10;
const WRITES: usize = 250;
const NODE_BYTES: usize = 8 << 10;
/// A log of that size, half of it behind the snapshot, what a few looks take, and the log's spare and reserve.
const USED_MAX: u64 = 3 * LOG_BYTES;

#[test]
fn the_log_is_bounded_in_bytes_whatever_its_entries_weigh() {
    for seed in 0..2 {
        // By entries there would be no snapshot, and nothing would go.
        let options = Options {
            snapshot_entries: 1_000_000,
            keep_entries: 1_000_000,
            snapshot_log_bytes: LOG_BYTES,
            ..Options::default()
        };
        world::run_with(seed, options, move |world| async move {
            world.start_with_session(3).await;
            for write in 0..WRITES {
                let data = Some(Bytes::from(vec![write as u8; NODE_BYTES]));
                let op = WriteOp::SetData { path: "/zookeeper/quota".to_owned(), data, version: -1 };
                world.propose_and_wait(write % 3, commands::write(op)).await;
                world.sleep(Duration::from_millis(50)).await;
                for member in 0..3 {
                    let used = world.used_bytes(member);
                    assert!(
                        used < USED_MAX,
                        "seed {seed}: {used} bytes of member {member} behind {write} writes"
                    );
                }
            }
            // What is left is enough to start from.
            world.restart_all().await;
            world.wait_equal(DEADLINE).await;
        });
    }
}
