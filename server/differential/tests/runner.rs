//! The runner as its caller sees it. That it finds differences between real servers is for `cargo xtask differences`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::TcpListener;
use std::process::Command;

#[test]
fn a_server_that_is_not_there_is_named_and_is_no_difference() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let run = Command::new(env!("CARGO_BIN_EXE_zke-differential"))
        .args(["--zookeeper", &address, "--zkd", &address])
        .output()
        .unwrap();
    let complaint = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(2));
    assert!(complaint.contains("with ZooKeeper") && complaint.contains(&address), "{complaint}");
}
