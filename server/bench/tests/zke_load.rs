//! The load generator as its caller sees it. That it measures a real server is tested by `cargo xtask bench`'s own test.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::TcpListener;
use std::process::Command;

#[test]
fn a_server_that_is_not_there_is_named() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let load = Command::new(env!("CARGO_BIN_EXE_zke-load"))
        .args(["--server", &address, "--op", "set", "--keys", "1"])
        .output()
        .unwrap();
    let complaint = String::from_utf8(load.stderr).unwrap();
    assert!(!load.status.success() && load.stdout.is_empty());
    assert!(complaint.contains(&address), "{complaint}");
}
