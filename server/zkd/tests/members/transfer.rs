//! A member that is far behind and dies while a snapshot is sent to it.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use zke_wire::Request;

use crate::members::Members;
use crate::raw::{self, Raw};

const RECEIVER: &str = "server/storage/src/snapshot/receiver.rs";
/// Where a piece is written.
const WRITE: &str = "file.write_at(at, bytes)";
/// The process dies before it writes this one of about 70 pieces.
const PIECE: u64 = 40;
const PIECE_BYTES: u64 = 256 << 10;
/// A block is good as a whole or not at all.
const BLOCK_BYTES: u64 = 256 << 10;
const LARGE_NODES: usize = 20;
const LARGE_BYTES: usize = 900_000;
/// A snapshot after so many entries; a fifth of them is kept in the log, and the rest purged if it is about a thousand.
const SNAPSHOT_ENTRIES: usize = 1_350;

#[test]
fn a_snapshot_goes_on_where_a_killed_member_was() {
    let mut members = Members::start_configured(&format!("snapCount={SNAPSHOT_ENTRIES}\n"));
    let leader = members.leader();
    let behind = (leader + 1) % 3;
    members.kill(behind);
    let (mut client, _) = Raw::connect(members.client(leader));
    for node in 0..LARGE_NODES {
        client.call(raw::create(&format!("/large-{node}"), &"x".repeat(LARGE_BYTES), 0)).unwrap();
    }
    for node in 0..SNAPSHOT_ENTRIES {
        client.call(raw::create(&format!("/small-{node}"), "", 0)).unwrap();
    }
    let begun = Instant::now();
    while largest(&members.folder(leader), "snapshot-") < (LARGE_NODES * LARGE_BYTES) as u64 {
        assert!(begun.elapsed() < Duration::from_secs(20), "no snapshot was taken; {}", members.log(leader));
        sleep(Duration::from_millis(50));
    }
    // The log before it is purged.
    sleep(Duration::from_millis(500));

    members.start_to_end_at(behind, &format!("{RECEIVER}:{}:{PIECE}", line_of(RECEIVER, WRITE)));
    let status = members.wait_end(behind);
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()), "{status}; {}", members.log(behind));
    let received = (PIECE - 1) * PIECE_BYTES;
    assert_eq!(largest(&members.folder(behind), "partial-"), received);
    assert_eq!(began(&members, behind), [0]);

    members.start_again(behind);
    members.wait_serving(behind);
    let offsets = began(&members, behind);
    let [0, again] = offsets[..] else { panic!("transfers began at {offsets:?}; {}", members.log(behind)) };
    assert!(again <= received && again > received - 2 * BLOCK_BYTES, "it went on at {again}, of {received}");
    assert_eq!(largest(&members.folder(behind), "partial-"), 0);
    let (mut back, _) = Raw::connect(members.client(behind));
    back.call(Request::Sync { path: "/".to_owned() }).unwrap();
    assert_eq!(raw::stat_of(back.call(raw::exists("/large-0"))).data_length, LARGE_BYTES as i32);
    assert!(back.call(raw::exists(&format!("/small-{}", SNAPSHOT_ENTRIES - 1))).is_ok());
}

/// The bytes of the largest file whose name begins so; 0 if there is none.
fn largest(folder: &Path, beginning: &str) -> u64 {
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap());
    let named = files.filter(|file| file.file_name().to_string_lossy().starts_with(beginning));
    // One may be removed while it is looked at.
    named.filter_map(|file| Some(file.metadata().ok()?.len())).max().unwrap_or_default()
}

/// From where on a member received snapshots, by its log.
fn began(members: &Members, member: usize) -> Vec<u64> {
    let log = members.log(member);
    let lines = log.lines().filter(|line| line.contains("receives a snapshot"));
    lines
        .map(|line| line.split_once("from=").unwrap().1.split(' ').next().unwrap().parse().unwrap())
        .collect()
}

/// Where a text stands, once, in a source of this repository.
fn line_of(file: &str, text: &str) -> usize {
    let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file)).unwrap();
    let found: Vec<_> = source.lines().enumerate().filter(|(_, line)| line.contains(text)).collect();
    let [(line, _)] = found[..] else { panic!("`{text}` stands {} times in {file}", found.len()) };
    line + 1
}
