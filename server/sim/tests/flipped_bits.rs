//! A bit flips on the disk of a member that is down.

use std::time::Duration;

use zke_consensus::Options;
use zke_sim::commands::create;
use zke_sim::world::{self, End};

const DEADLINE: Duration = Duration::from_secs(10);
/// Of every file that counts, behind its magic and in front of what may be empty.
const BYTE: usize = 20;

/// The member names the file and does not start, whatever the file; with the bit as it was it starts and is as the others.
/// Older snapshots, of which there is no need, may be damaged.
#[test]
fn a_member_with_a_flipped_bit_names_the_file_and_does_not_start() {
    let options = Options { snapshot_entries: 20, keep_entries: 10, ..Options::default() };
    for seed in 0..3 {
        world::run_with(seed, options.clone(), move |world| async move {
            world.start_with_session(3).await;
            for write in 0..50 {
                world.propose_and_wait(write % 3, create(format!("/write-{write}"))).await;
            }
            let rots = usize::try_from(seed).expect("a small number");
            world.end(rots, End::Kill).await;
            let files = world.files(rots);
            let newest = files.iter().rfind(|file| file.starts_with("snapshot-")).expect("it took some");
            let counts = |file: &str| file == "identity" || file.starts_with("log-") || file == newest;
            for file in files.iter().filter(|file| counts(file)) {
                world.flip(rots, file, BYTE, 3);
                let starts = world.starts_or_names(rots, file).await;
                assert!(!starts, "START: seed {seed}: {file} is damaged, and nobody says so");
                world.flip(rots, file, BYTE, 3);
                world.propose_and_wait((rots + 1) % 3, create(format!("/without-{file}"))).await;
            }
            world.boot(rots).await;
            world.wait_equal(DEADLINE).await;
        });
    }
}
