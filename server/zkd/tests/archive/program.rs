//! The program under test: one run of a command, and a server that is alone.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{panicking, sleep};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use zke_e2e::ports::free_ports;

use crate::raw::Raw;

/// Processes of a debug build would starve each other, and with them the leases of those that are an ensemble.
static ONE_TEST_AT_A_TIME: Mutex<()> = Mutex::new(());

/// To be held for as long as a test runs.
pub fn turn() -> MutexGuard<'static, ()> {
    ONE_TEST_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

const PATIENCE: Duration = Duration::from_secs(60);

/// Test folders have names that are text.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A command that ended.
pub struct Ended {
    code: Option<i32>,
    pub report: Value,
    stderr: String,
}

/// Runs a command to its end and reads its report.
pub fn zkd(arguments: &[&str]) -> Ended {
    let folder = TempDir::new().unwrap();
    let report = folder.path().join("report");
    let output = Command::new(env!("CARGO_BIN_EXE_zkd"))
        .args(arguments)
        .arg("--report")
        .arg(&report)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    let written = fs::read(&report).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {stderr}"));
    Ended { code: output.status.code(), report: serde_json::from_slice(&written).unwrap(), stderr }
}

impl Ended {
    pub fn message(&self) -> &str {
        self.report["message"].as_str().unwrap()
    }

    /// Returns what it says of the archive.
    #[track_caller]
    pub fn succeeded(&self) -> Value {
        self.succeeded_without_artifact();
        let artifact = self.report["artifact"].clone();
        assert!(artifact.is_object(), "{}", self.report);
        artifact
    }

    #[track_caller]
    pub fn succeeded_without_artifact(&self) {
        assert_eq!(
            (&self.report["result"], &self.report["reason"], self.code),
            (&"Succeeded".into(), &"Succeeded".into(), Some(0)),
            "{}",
            self.report
        );
    }

    #[track_caller]
    pub fn failed(&self, reason: &str, words: &str) {
        assert_eq!(
            (&self.report["result"], &self.report["reason"], self.code),
            (&"Failed".into(), &reason.into(), Some(1)),
            "{}",
            self.report
        );
        assert!(self.message().contains(words), "{}", self.message());
        assert!(self.stderr.contains(self.message()), "{}", self.stderr);
    }
}

/// A server on a free port, ended with the value that holds it.
pub struct Server {
    process: Option<Child>,
    clients: SocketAddr,
    data_dir: PathBuf,
    config: PathBuf,
    arguments: Vec<String>,
}

impl Server {
    /// Alone, with the data in `data_dir`. Returns when it serves.
    pub fn start(data_dir: &Path) -> Server {
        let server = Server::launch(data_dir, "", &[]);
        server.wait_serving();
        server
    }

    /// With more lines in its file and more on its command line.
    pub fn launch(data_dir: &Path, lines: &str, arguments: &[&str]) -> Server {
        let port = free_ports(1).unwrap()[0];
        let config = data_dir.with_extension("cfg");
        let file = format!(
            "dataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n\
             4lw.commands.whitelist=*\n{lines}",
            data_dir.display()
        );
        fs::write(&config, file).unwrap();
        let mut server = Server {
            process: None,
            clients: SocketAddr::from(([127, 0, 0, 1], port)),
            data_dir: data_dir.to_owned(),
            config,
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        };
        server.spawn();
        server
    }

    fn spawn(&mut self) {
        let log = fs::File::options().append(true).create(true).open(self.data_dir.with_extension("log"));
        let process = Command::new(env!("CARGO_BIN_EXE_zkd"))
            .arg("--config")
            .arg(&self.config)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.unwrap())
            .spawn()
            .unwrap();
        self.process = Some(process);
    }

    /// Kills it and starts it on the same data. Returns when it serves.
    pub fn start_again(&mut self) {
        self.kill();
        self.spawn();
        self.wait_serving();
    }

    pub fn clients(&self) -> SocketAddr {
        self.clients
    }

    pub fn socket(&self) -> PathBuf {
        self.data_dir.join("admin.sock")
    }

    pub fn wait_serving(&self) {
        let begun = Instant::now();
        while !self.serves() {
            assert!(begun.elapsed() < PATIENCE, "it does not serve:\n{}", self.log());
            sleep(Duration::from_millis(20));
        }
    }

    pub fn serves(&self) -> bool {
        if std::net::TcpStream::connect(self.clients).is_err() {
            return false;
        }
        let mut raw = Raw::dial(self.clients);
        raw.write(b"srvr");
        raw.rest().contains("Mode: ")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.data_dir.with_extension("log")).unwrap()
    }

    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Gone already is as good.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if panicking() {
            eprintln!("the server:\n{}", self.log());
        }
        self.kill();
    }
}
