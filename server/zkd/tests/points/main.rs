//! A real process that dies at a point of persistence, and another one on the same directory: what was acknowledged is
//! there. Every point is tried in the simulation (`server/sim/tests/points`); these show that it is the same in a
//! process, on a file system.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../client/raw.rs"]
#[allow(dead_code, reason = "shared with the tests of one server")]
mod raw;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;
use zke_e2e::ports::free_ports;
use zke_wire::{OpCode, Response};

use raw::Raw;

const PATIENCE: Duration = Duration::from_secs(30);
/// The process dies long before.
const WRITES_MAX: i32 = 500;

/// The file, what stands on the line, and which time it comes there.
const POINTS: [(&str, &str, u32); 7] = [
    ("server/storage/src/disk.rs", "disk.rename(&unfinished, name)", 1),
    ("server/storage/src/disk.rs", "disk.rename(&unfinished, name)", 2),
    ("server/storage/src/disk.rs", "disk.sync_dir()", 2),
    ("server/storage/src/log/writer.rs", "self.disk.rename(SPARE, &name)", 1),
    ("server/storage/src/log/writer.rs", "segment.file.write_at(self.offset, &self.buffer)", 40),
    ("server/storage/src/log/writer.rs", "segment.file.sync_data()", 3),
    ("server/storage/src/log/writer.rs", "segment.file.sync_data()", 40),
];

#[test]
fn a_process_that_dies_at_a_point_of_persistence_loses_nothing_it_acknowledged() {
    for (file, text, hits) in POINTS {
        let place = format!("{file}:{}:{hits}", line_of(file, text));
        let mut server = Server::on(TempDir::new().unwrap());
        server.start(Some(&place));
        let acknowledged = server.write_until_it_ends();
        let status = server.wait_end();
        assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()), "{place}: {status}; {}", server.log());
        assert!(server.log().contains("as it was asked to"), "{place}: {}", server.log());
        server.start(None);
        assert!(server.serves(), "{place}: {}", server.log());
        let (mut client, _) = Raw::connect(server.address);
        for write in 0..acknowledged {
            assert!(client.call(raw::exists(&format!("/{write}"))).is_ok(), "{place}: write {write} is lost");
        }
        client.call(raw::create("/after", "", 0)).unwrap();
    }
}

/// Where a text stands, once, in a source of this repository.
fn line_of(file: &str, text: &str) -> usize {
    let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file)).unwrap();
    let found: Vec<_> = source.lines().enumerate().filter(|(_, line)| line.contains(text)).collect();
    let [(line, _)] = found[..] else { panic!("`{text}` stands {} times in {file}", found.len()) };
    line + 1
}

/// A server that is alone in its ensemble.
struct Server {
    dir: TempDir,
    address: SocketAddr,
    process: Option<Child>,
}

impl Server {
    fn on(dir: TempDir) -> Server {
        let address = SocketAddr::from(([127, 0, 0, 1], free_ports(1).unwrap()[0]));
        let config = format!(
            "dataDir={}\nclientPort={}\nclientPortAddress=127.0.0.1\ntickTime=2000\nadmin.enableServer=false\n",
            dir.path().join("data").display(),
            address.port()
        );
        fs::write(dir.path().join("zoo.cfg"), config).unwrap();
        Server { dir, address, process: None }
    }

    fn start(&mut self, crash_at: Option<&str>) {
        let log = fs::File::options().append(true).create(true).open(self.dir.path().join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_zkd"));
        command.arg("--config").arg(self.dir.path().join("zoo.cfg"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        if let Some(place) = crash_at {
            command.env("ZKE_CRASH_AT", place);
        }
        self.process = Some(command.spawn().unwrap());
    }

    /// Returns when it lets clients in, or false when it has ended.
    fn serves(&mut self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Ok(mut stream) = TcpStream::connect(self.address) {
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let mut said = String::new();
                let asked = stream.write_all(b"srvr").and_then(|()| stream.read_to_string(&mut said));
                if asked.is_ok() && said.contains("Mode: ") {
                    return true;
                }
            }
            if self.process.as_mut().expect("it was started").try_wait().unwrap().is_some() {
                return false;
            }
            sleep(Duration::from_millis(20));
        }
        panic!("it neither serves nor ends; {}", self.log());
    }

    /// Returns how many nodes were acknowledged, in order.
    fn write_until_it_ends(&mut self) -> i32 {
        if !self.serves() {
            return 0;
        }
        let Ok(stream) = TcpStream::connect(self.address) else { return 0 };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Raw::over(stream);
        let mut hello = bytes::BytesMut::new();
        raw::new_session().encode(&mut hello);
        if !client.try_write(&hello) || client.try_frame().is_none() {
            return 0;
        }
        for write in 0..WRITES_MAX {
            let mut out = bytes::BytesMut::new();
            raw::create(&format!("/{write}"), "", 0).encode(write, &mut out);
            let answer = client.try_write(&out).then(|| client.try_frame()).flatten();
            let Some(answer) = answer else { return write };
            let (header, response) = Response::decode(OpCode::Create, answer).unwrap();
            assert_eq!((header.err, response), (None, Response::Create { path: format!("/{write}") }));
        }
        panic!("it did not end within {WRITES_MAX} writes; {}", self.log());
    }

    fn wait_end(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("it was started");
        let begun = Instant::now();
        loop {
            if let Some(status) = process.try_wait().unwrap() {
                return status;
            }
            if begun.elapsed() > PATIENCE {
                process.kill().unwrap();
                panic!("it does not end; {}", self.log());
            }
            sleep(Duration::from_millis(10));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // Gone already is as good.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
