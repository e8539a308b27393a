//! A real process under floods: its memory stays bounded and others are served.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../client/raw.rs"]
#[allow(dead_code, reason = "shared with the tests of one server")]
mod raw;

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tempfile::TempDir;

use raw::Raw;

/// How long a flood goes on.
const FLOOD: Duration = Duration::from_secs(4);

struct Process {
    child: Child,
    address: SocketAddr,
    _dir: TempDir,
}

impl Process {
    /// One server with these lines in its configuration; returns when it serves.
    fn start(lines: &str) -> Process {
        let dir = TempDir::new().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = format!(
            "dataDir={}\nclientPort={}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n{lines}",
            dir.path().join("data").display(),
            address.port()
        );
        let file = dir.path().join("zoo.cfg");
        fs::write(&file, config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_zkd"));
        let child =
            command.arg("--config").arg(file).stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let process = Process { child, address, _dir: dir };
        let begun = Instant::now();
        while !process.serves() {
            assert!(begun.elapsed() < Duration::from_secs(30), "it does not serve");
            sleep(Duration::from_millis(50));
        }
        process
    }

    fn serves(&self) -> bool {
        if TcpStream::connect(self.address).is_err() {
            return false;
        }
        let mut raw = Raw::dial(self.address);
        raw.write(b"srvr");
        raw.rest().contains("Mode: ")
    }

    fn resident_bytes(&self) -> usize {
        let text = fs::read_to_string(format!("/proc/{}/statm", self.child.id())).unwrap();
        let pages: usize = text.split(' ').nth(1).unwrap().parse().unwrap();
        pages * 4_096
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends `bytes` to a new connection for as long as a flood lasts, and reads nothing.
fn flood(address: SocketAddr, bytes: &[u8]) {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut sent = 0;
    while begun.elapsed() < FLOOD && sent < bytes.len() {
        match stream.write(&bytes[sent..]) {
            Ok(len) => sent += len,
            // Held back: as it should be.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
    }
    sleep(FLOOD.saturating_sub(begun.elapsed()));
}

/// Twenty clients ask for two gigabytes of answers between large writes, and take none of them.
#[test]
fn a_flood_that_reads_nothing_is_held_back_and_others_are_served() {
    let process = Process::start("maxClientCnxns=0\nglobalOutstandingLimit=200\n");
    let address = process.address;
    let (mut client, _) = Raw::connect(address);
    client.call(raw::create("/big", &"x".repeat(500_000), 0)).unwrap();
    client.call(raw::create("/w", "", 0)).unwrap();
    let before = process.resident_bytes();
    let mut bytes = BytesMut::new();
    raw::new_session().encode(&mut bytes);
    for xid in 0..200 {
        raw::get("/big").encode(xid, &mut bytes);
        raw::set("/w", &"y".repeat(20_000)).encode(xid, &mut bytes);
    }
    let bytes = bytes.freeze();
    let floods: Vec<_> = (0..20)
        .map(|_| {
            let bytes = bytes.clone();
            thread::spawn(move || flood(address, &bytes))
        })
        .collect();
    let (mut answered, mut longest, mut most) = (0, Duration::ZERO, 0);
    while !floods.iter().all(thread::JoinHandle::is_finished) {
        let begun = Instant::now();
        client.call(raw::exists("/w")).unwrap();
        client.call(raw::create("/w/n-", "", 2)).unwrap();
        (answered, longest) = (answered + 1, longest.max(begun.elapsed()));
        most = most.max(process.resident_bytes());
    }
    floods.into_iter().for_each(|flood| flood.join().unwrap());
    let grown_mib = most.saturating_sub(before) >> 20;
    println!("{answered} answers, the longest after {longest:?}; {grown_mib} MiB more in memory");
    assert!(answered > 10 && longest < Duration::from_secs(4), "{answered} answers, one after {longest:?}");
    // Each connection has at most two answers and a request in memory, and 64 MiB of writes may wait: as commands, as
    // entries, in the log's queue and as what followers may still ask for. Runs of this test grew by 290 to 460 MiB.
    assert!(grown_mib < 700, "{grown_mib} MiB");
}

/// Frames that announce a megabyte and never come.
#[test]
fn half_sent_frames_cost_no_more_than_what_was_sent() {
    let process = Process::start("maxClientCnxns=0\n");
    let before = process.resident_bytes();
    let mut begun = BytesMut::new();
    raw::new_session().encode(&mut begun);
    begun.extend_from_slice(&1_000_000_i32.to_be_bytes());
    begun.extend_from_slice(&[0; 100]);
    let held: Vec<_> = (0..300)
        .map(|_| {
            let mut raw = Raw::dial(process.address);
            raw.write(&begun);
            raw.frame();
            raw
        })
        .collect();
    sleep(Duration::from_millis(500));
    let grown_mib = process.resident_bytes().saturating_sub(before) >> 20;
    println!("{grown_mib} MiB for {} connections", held.len());
    assert!(grown_mib < 64, "{grown_mib} MiB");
    assert!(process.serves());
}
