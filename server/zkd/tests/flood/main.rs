//! A real process under floods: its memory stays bounded and others are served.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../client/raw.rs"]
#[allow(dead_code, reason = "shared with the tests of one server")]
mod raw;

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tempfile::TempDir;
use zke_e2e::ports::free_ports;
use zke_wire::Request;

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
        let address = SocketAddr::from(([127, 0, 0, 1], free_ports(1).unwrap()[0]));
        let config = format!(
            "dataDir={}\nclientPort={}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n{lines}",
            dir.path().join("data").display(),
            address.port()
        );
        let file = dir.path().join("zoo.cfg");
        fs::write(&file, config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_zkd"));
        // What is measured is what the server holds, not what its allocator keeps to be used again.
        command.env("MIMALLOC_PURGE_DELAY", "0");
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

/// What a server made of a flood.
struct Outcome {
    /// Of the one client that reads.
    answered: usize,
    longest: Duration,
    grown_mib: usize,
}

/// Twenty clients send what `round` encodes, so many times over, and take no answers; one more asks and reads. There are
/// nodes `/big`, of half a megabyte, and `/w`.
fn flooded(lines: &str, rounds: i32, round: impl Fn(i32, &mut BytesMut)) -> Outcome {
    // Each flood takes the whole machine.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let process = Process::start(&format!("maxClientCnxns=0\n{lines}"));
    let address = process.address;
    let (mut client, _) = Raw::connect(address);
    client.call(raw::create("/big", &"x".repeat(500_000), 0)).unwrap();
    client.call(raw::create("/w", "", 0)).unwrap();
    let before = process.resident_bytes();
    let mut bytes = BytesMut::new();
    raw::new_session().encode(&mut bytes);
    (0..rounds).for_each(|xid| round(xid, &mut bytes));
    let bytes = bytes.freeze();
    let floods: Vec<_> = (0..20)
        .map(|_| {
            let bytes = bytes.clone();
            thread::spawn(move || flood(address, &bytes))
        })
        .collect();
    let is_over = AtomicBool::new(false);
    let (answered, longest, most) = thread::scope(|scope| {
        let reader = scope.spawn(|| read_until(&is_over, &mut client));
        let mut most = 0;
        while !floods.iter().all(thread::JoinHandle::is_finished) {
            most = most.max(process.resident_bytes());
            sleep(Duration::from_millis(5));
        }
        is_over.store(true, Ordering::Relaxed);
        let (answered, longest) = reader.join().unwrap();
        (answered, longest, most)
    });
    floods.into_iter().for_each(|flood| flood.join().unwrap());
    let grown_mib = most.saturating_sub(before) >> 20;
    println!("{answered} answers, the longest after {longest:?}; {grown_mib} MiB more in memory");
    Outcome { answered, longest, grown_mib }
}

/// How often it asked, and the longest that it waited.
fn read_until(is_over: &AtomicBool, client: &mut Raw) -> (usize, Duration) {
    let (mut answered, mut longest) = (0, Duration::ZERO);
    while !is_over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        client.call(raw::exists("/w")).unwrap();
        client.call(raw::create("/w/n-", "", 2)).unwrap();
        (answered, longest) = (answered + 1, longest.max(begun.elapsed()));
    }
    (answered, longest)
}

/// Two gigabytes of answers between large writes.
#[test]
fn a_flood_that_reads_nothing_is_held_back_and_others_are_served() {
    let Outcome { answered, longest, grown_mib } =
        flooded("globalOutstandingLimit=200\n", 200, |xid, bytes| {
            raw::get("/big").encode(xid, bytes);
            raw::set("/w", &"y".repeat(20_000)).encode(xid, bytes);
        });
    assert!(answered > 10 && longest < Duration::from_secs(4), "{answered} answers, one after {longest:?}");
    // At most 64 MiB of answers and 32 MiB of requests, in buffers that may be twice as large; runs grew by 106 to 120.
    assert!(grown_mib < 200, "{grown_mib} MiB");
}

/// Answers behind a write come when that is applied, whether or not the ones before have left.
#[test]
fn answers_behind_writes_do_not_pile_up_without_bound() {
    let Outcome { grown_mib, .. } = flooded("", 200, |xid, bytes| {
        raw::set("/w", "").encode(xid, bytes);
        (0..5).for_each(|_| raw::get("/big").encode(xid, bytes));
    });
    // Besides those 64 MiB each connection may have had 1 MiB and an answer when they were reached: 143 to 195.
    assert!(grown_mib < 260, "{grown_mib} MiB");
}

/// Nothing behind a `sync` can be answered before its barrier is there.
#[test]
fn long_requests_that_wait_do_not_pile_up_without_bound() {
    let path = format!("/{}", "x".repeat(1_000_000));
    let Outcome { grown_mib, .. } = flooded("", 20, |xid, bytes| {
        Request::Sync { path: "/".into() }.encode(xid, bytes);
        (0..3).for_each(|_| raw::exists(&path).encode(xid, bytes));
    });
    // 32 MiB, and a message of each connection: 59 to 67.
    assert!(grown_mib < 120, "{grown_mib} MiB");
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
