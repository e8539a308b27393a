//! Three `zkd` processes on free ports of this machine, ended with the value that holds them.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use zke_wire::{ConnectResponse, SessionId};

use crate::raw::{Raw, same_session};

const PATIENCE: Duration = Duration::from_secs(30);

/// Nine processes of a debug build would starve each other, and elections with them.
static ONE_ENSEMBLE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub struct Members {
    _turn: MutexGuard<'static, ()>,
    processes: [Option<Child>; 3],
    clients: [SocketAddr; 3],
    dir: TempDir,
}

impl Members {
    /// Returns when all three serve.
    pub fn start() -> Members {
        let turn = ONE_ENSEMBLE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = TempDir::new().unwrap();
        let ports = free_ports();
        let servers: String =
            (0..3).map(|n| format!("server.{}=127.0.0.1:{}:{}\n", n + 1, ports[n], ports[3 + n])).collect();
        for n in 0..3 {
            let data = dir.path().join(n.to_string());
            fs::create_dir(&data).unwrap();
            fs::write(data.join("myid"), (n + 1).to_string()).unwrap();
            let config = format!(
                "dataDir={}\nclientPort={}\nclientPortAddress=127.0.0.1\ntickTime=2000\n\
                 4lw.commands.whitelist=*\nadmin.enableServer=false\n{servers}",
                data.display(),
                ports[6 + n]
            );
            fs::write(dir.path().join(format!("{n}.cfg")), config).unwrap();
        }
        let clients = [6, 7, 8].map(|at| SocketAddr::from(([127, 0, 0, 1], ports[at])));
        let mut members = Members { _turn: turn, processes: [None, None, None], clients, dir };
        (0..3).for_each(|member| members.start_again(member));
        (0..3).for_each(|member| members.wait_serving(member));
        members
    }

    pub fn client(&self, member: usize) -> SocketAddr {
        self.clients[member]
    }

    pub fn start_again(&mut self, member: usize) {
        let log = fs::File::options().append(true).create(true).open(self.path(member, "log")).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_zkd"))
            .arg("--config")
            .arg(self.path(member, "cfg"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.processes[member] = Some(process);
    }

    /// Which member says that it leads.
    pub fn leader(&self) -> usize {
        (0..3).find(|member| self.srvr(*member).contains("Mode: leader")).expect("one of them leads")
    }

    pub fn kill(&mut self, member: usize) {
        let mut process = self.processes[member].take().expect("it runs");
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Asks a member to end and waits until it has.
    pub fn terminate(&mut self, member: usize) -> ExitStatus {
        let mut process = self.processes[member].take().expect("it runs");
        kill_process(Pid::from_child(&process), Signal::TERM).unwrap();
        let asked = Instant::now();
        loop {
            if let Some(status) = process.try_wait().unwrap() {
                return status;
            }
            if asked.elapsed() > PATIENCE {
                process.kill().unwrap();
                panic!("member {member} does not end; {}", self.log(member));
            }
            sleep(Duration::from_millis(10));
        }
    }

    /// Takes a session up through a member, as soon as that lets clients in.
    pub fn take_up(&self, member: usize, granted: &ConnectResponse) -> Raw {
        self.wait_serving(member);
        let mut raw = Raw::dial(self.clients[member]);
        let again = raw.ask_session(&same_session(granted));
        assert_ne!(again.session_id, SessionId::NONE, "the session is gone; {}", self.log(member));
        raw
    }

    /// Returns when a member lets clients in.
    pub fn wait_serving(&self, member: usize) {
        let begun = Instant::now();
        while !self.srvr(member).contains("Mode: ") {
            assert!(begun.elapsed() < PATIENCE, "member {member} does not serve; {}", self.log(member));
            sleep(Duration::from_millis(20));
        }
    }

    fn srvr(&self, member: usize) -> String {
        match std::net::TcpStream::connect(self.clients[member]) {
            Ok(_) => {
                let mut raw = Raw::dial(self.clients[member]);
                raw.write(b"srvr");
                raw.rest()
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
                String::new()
            }
        }
    }

    fn path(&self, member: usize, extension: &str) -> PathBuf {
        self.dir.path().join(format!("{member}.{extension}"))
    }

    fn log(&self, member: usize) -> String {
        fs::read_to_string(self.path(member, "log")).unwrap()
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        if std::thread::panicking() {
            (0..3).for_each(|member| eprintln!("member {member}:\n{}", self.log(member)));
        }
        for process in self.processes.iter_mut().flatten() {
            // Gone already is as good.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Nine ports that are free now. Held together, so that they differ.
fn free_ports() -> Vec<u16> {
    let held: Vec<_> = (0..9).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    held.iter().map(|socket| socket.local_addr().unwrap().port()).collect()
}
