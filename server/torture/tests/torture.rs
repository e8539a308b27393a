//! The rows that are quick and quiet, once each: the same runs as `cargo xtask torture`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::process::Command;

/// The kept histories and logs of a finding stand where Cargo keeps things of tests.
fn holds(row: &str) {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("torture");
    let run = Command::new(env!("CARGO_BIN_EXE_zke-torture"))
        .args(["--row", row, "--runs", "1", "--seed", "1", "--zkd"])
        .arg(zkd())
        .arg("--keep")
        .arg(kept)
        .status()
        .unwrap();
    assert!(run.success(), "{row} found something");
}

/// Cargo tells where a package's own programs are, and puts those of the whole workspace side by side.
fn zkd() -> std::path::PathBuf {
    let zkd = Path::new(env!("CARGO_BIN_EXE_zke-torture")).with_file_name("zkd");
    assert!(zkd.is_file(), "build zkd first: cargo build -p zkd");
    zkd
}

macro_rules! rows {
    ($($name:ident: $row:literal,)*) => {$(
        #[test]
        #[ignore = "makes network namespaces and cuts links, as root: cargo xtask test"]
        fn $name() {
            holds($row);
        }
    )*};
}

rows! {
    clients_are_right_when_the_leader_is_killed: "T2",
    clients_are_right_when_all_members_are_killed: "T3",
    clients_are_right_when_machines_lose_their_power: "T4",
    clients_are_right_when_a_disk_fails_to_flush: "T6",
    clients_are_right_when_disks_are_full: "T7",
    clients_are_right_when_a_bit_flips: "T8",
    clients_are_right_when_a_member_gets_a_foreign_disk: "T9",
    clients_are_right_when_members_are_cut_off: "T10",
    clients_are_right_when_links_lose_packets: "T11",
    clients_are_right_when_a_process_stops: "T12",
    clients_are_right_when_clocks_jump: "T13",
    clients_are_right_when_a_disk_is_slow: "T14",
    clients_are_right_when_a_process_starves: "T15",
    clients_are_right_when_a_member_is_far_behind: "T16",
    clients_are_right_when_a_lost_disk_is_replaced: "T19",
    clients_are_right_when_members_are_restarted: "T20",
    clients_are_right_when_they_reconnect_all_the_time: "T22",
    clients_are_right_when_sessions_move: "T24",
    clients_are_right_when_the_counter_overflows: "T26",
}
