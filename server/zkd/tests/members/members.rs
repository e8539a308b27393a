//! Three `zkd` processes on free ports of this machine, ended with the value that holds them.

use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use zke_consensus::PeerNode;
use zke_e2e::ports::free_ports;
use zke_wire::{ConnectResponse, SessionId};

use crate::raw::{Raw, same_session};

const PATIENCE: Duration = Duration::from_secs(30);

/// Nine processes of a debug build would starve each other, and elections with them.
static ONE_ENSEMBLE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub struct Members {
    _turn: MutexGuard<'static, ()>,
    disks: Disks,
    processes: Vec<Option<Child>>,
    clients: Vec<SocketAddr>,
    dir: TempDir,
}

/// Where the members keep their data.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Disks {
    /// In folders side by side.
    Shared,
    /// Each on a file system of its own, which only that process sees and which goes with it. Needs root.
    Own,
}

impl Members {
    /// Returns when all three serve.
    pub fn start() -> Members {
        Members::start_with(Disks::Shared, "")
    }

    /// The same with these lines in each configuration.
    pub fn start_configured(lines: &str) -> Members {
        Members::start_with(Disks::Shared, lines)
    }

    /// The same with a disk for each, for [`Members::hang_disk`].
    pub fn start_on_own_disks() -> Members {
        Members::start_with(Disks::Own, "")
    }

    fn start_with(disks: Disks, lines: &str) -> Members {
        let turn = ONE_ENSEMBLE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = TempDir::new().unwrap();
        let ports = free_ports(9).unwrap();
        let servers: String =
            (0..3).map(|n| format!("server.{}=127.0.0.1:{}:{}\n", n + 1, ports[n], ports[3 + n])).collect();
        for n in 0..3 {
            let data = dir.path().join(n.to_string());
            fs::create_dir(&data).unwrap();
            if disks == Disks::Own {
                make_disk(&data.with_extension("img"), n + 1);
            } else {
                fs::write(data.join("myid"), (n + 1).to_string()).unwrap();
            }
            let config = configuration(&data, ports[6 + n], &format!("{lines}{servers}"));
            fs::write(dir.path().join(format!("{n}.cfg")), config).unwrap();
        }
        let clients = ports[6..9].iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port))).collect();
        let processes = (0..3).map(|_| None).collect();
        let mut members = Members { _turn: turn, disks, processes, clients, dir };
        (0..3).for_each(|member| members.start_again(member));
        (0..3).for_each(|member| members.wait_serving(member));
        members
    }

    /// Starts a fourth process, which nobody's file names but its own. Returns its line.
    #[allow(dead_code, reason = "for the tests of reconfig")]
    pub fn start_fourth(&mut self, lines: &str, role: &str) -> String {
        let ports = free_ports(3).unwrap();
        let first = fs::read_to_string(self.path(0, "cfg")).unwrap();
        let servers = first.lines().filter(|line| line.starts_with("server."));
        let others: String = servers.map(|line| format!("{line}\n")).collect();
        let own = format!("server.4=127.0.0.1:{}:{}:{role};127.0.0.1:{}", ports[0], ports[1], ports[2]);
        let data = self.dir.path().join("3");
        fs::create_dir(&data).unwrap();
        fs::write(data.join("myid"), "4").unwrap();
        let config = configuration(&data, ports[2], &format!("{lines}{others}{own}\n"));
        fs::write(self.path(3, "cfg"), config).unwrap();
        self.processes.push(None);
        self.clients.push(SocketAddr::from(([127, 0, 0, 1], ports[2])));
        self.start_again(3);
        own
    }

    pub fn client(&self, member: usize) -> SocketAddr {
        self.clients[member]
    }

    /// Where other members reach it.
    #[allow(dead_code, reason = "for the tests of the peer port")]
    pub fn peer(&self, member: usize) -> PeerNode {
        let config = fs::read_to_string(self.path(member, "cfg")).unwrap();
        let line = format!("server.{}=", member + 1);
        let address = config.lines().find_map(|text| text.strip_prefix(&line)).unwrap();
        let (address, _) = address.rsplit_once(':').unwrap();
        PeerNode { pod: format!("server.{}", member + 1), address: address.to_owned() }
    }

    /// Where a member has its data.
    #[allow(dead_code, reason = "for the tests of transfers")]
    pub fn folder(&self, member: usize) -> PathBuf {
        self.dir.path().join(member.to_string())
    }

    /// The socket of a member's admin API.
    #[allow(dead_code, reason = "for the tests of archives")]
    pub fn socket(&self, member: usize) -> PathBuf {
        self.dir.path().join(member.to_string()).join("admin.sock")
    }

    pub fn start_again(&mut self, member: usize) {
        self.start_in(member, None);
    }

    /// Starts it to end by itself at a point of persistence; see `ZKE_CRASH_AT`.
    #[allow(dead_code, reason = "for the tests of transfers")]
    pub fn start_to_end_at(&mut self, member: usize, point: &str) {
        self.start_in(member, [("ZKE_CRASH_AT", point)]);
    }

    /// Starts it with these in its environment.
    pub fn start_in<'a>(
        &mut self,
        member: usize,
        environment: impl IntoIterator<Item = (&'static str, &'a str)>,
    ) {
        let log = fs::File::options().append(true).create(true).open(self.path(member, "log")).unwrap();
        let process = self
            .command(member)
            .envs(environment)
            .arg("--config")
            .arg(self.path(member, "cfg"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.processes[member] = Some(process);
    }

    fn command(&self, member: usize) -> Command {
        let zkd = env!("CARGO_BIN_EXE_zkd");
        if self.disks == Disks::Shared {
            return Command::new(zkd);
        }
        let data = self.dir.path().join(member.to_string());
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c"]);
        // The shell becomes the server, so its process id is the one to signal.
        command.arg("mount -o loop \"$1\" \"$2\" && shift 2 && exec \"$@\"").arg("sh");
        command.arg(data.with_extension("img")).arg(data).arg(zkd);
        command
    }

    /// Lets every write to a member's disk hang for `seconds`, whatever becomes of this test.
    pub fn hang_disk(&self, member: usize, seconds: u32) -> Child {
        let process = self.processes[member].as_ref().expect("it runs");
        Command::new("nsenter")
            .arg("--mount")
            .arg(format!("--target={}", process.id()))
            .args(["sh", "-c", "fsfreeze --freeze \"$1\" && sleep \"$2\"; fsfreeze --unfreeze \"$1\"", "sh"])
            .arg(self.dir.path().join(member.to_string()))
            .arg(seconds.to_string())
            .spawn()
            .unwrap()
    }

    /// Which member says that it leads.
    pub fn leader(&self) -> usize {
        (0..3).find(|member| self.leads(*member)).expect("one of them leads")
    }

    pub fn leads(&self, member: usize) -> bool {
        self.srvr(member).contains("Mode: leader")
    }

    pub fn kill(&mut self, member: usize) {
        let mut process = self.processes[member].take().expect("it runs");
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Nothing is left in a member's folder but its number.
    #[allow(dead_code, reason = "for the tests of reconfig")]
    pub fn lose_disk(&self, member: usize) {
        let folder = self.folder(member);
        fs::remove_dir_all(&folder).unwrap();
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("myid"), (member + 1).to_string()).unwrap();
    }

    /// Asks a member to end and waits until it has.
    pub fn terminate(&mut self, member: usize) -> ExitStatus {
        let process = self.processes[member].as_ref().expect("it runs");
        kill_process(Pid::from_child(process), Signal::TERM).unwrap();
        self.wait_end(member)
    }

    /// Waits until a member has ended by itself.
    pub fn wait_end(&mut self, member: usize) -> ExitStatus {
        let mut process = self.processes[member].take().expect("it runs");
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

    pub fn srvr(&self, member: usize) -> String {
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

    pub fn log(&self, member: usize) -> String {
        fs::read_to_string(self.path(member, "log")).unwrap()
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        if std::thread::panicking() {
            (0..self.clients.len()).for_each(|member| eprintln!("member {member}:\n{}", self.log(member)));
        }
        for process in self.processes.iter_mut().flatten() {
            // Gone already is as good.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn configuration(data: &Path, client_port: u16, lines: &str) -> String {
    format!(
        "dataDir={}\nclientPort={client_port}\nclientPortAddress=127.0.0.1\ntickTime=2000\n\
         4lw.commands.whitelist=*\nadmin.enableServer=false\n{lines}",
        data.display()
    )
}

/// A file system for one member, with its number in it, in a file. Two log segments and a snapshot fit well.
fn make_disk(image: &Path, my_id: usize) {
    let seed = TempDir::new().unwrap();
    fs::write(seed.path().join("myid"), my_id.to_string()).unwrap();
    fs::File::create(image).unwrap().set_len(512 << 20).unwrap();
    let made = Command::new("mkfs.ext4").args(["-q", "-d"]).arg(seed.path()).arg(image).status().unwrap();
    assert!(made.success());
}
