//! Three processes of one server on this machine, as `zoo.cfg` makes them, that a test ends and starts again.
//!
//! They listen on the loopback only, on ports of their own. The kernel kills each of them with the thread that
//! started it, however that ends.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::ports::free_ports;
use crate::program::Program;

/// For a start of three debug builds, or an election, on a busy machine.
const SERVE_LIMIT: Duration = Duration::from_secs(60);
/// A member asked to end answers its clients and hands over first.
const END_LIMIT: Duration = Duration::from_secs(30);
/// For the answer of a server that is there.
const ASK_LIMIT: Duration = Duration::from_secs(2);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub struct LocalEnsemble {
    /// The program and its arguments, but for the file.
    program: Vec<String>,
    processes: [Option<Child>; 3],
    clients: [SocketAddr; 3],
    /// Their lines in the file.
    servers: [String; 3],
    folder: TempDir,
}

impl LocalEnsemble {
    /// Starts three members of zkd, each with these further lines in its `zoo.cfg`; returns when all three serve.
    pub fn start(zkd: &Path, lines: &str) -> Result<Self> {
        Self::of(vec![zkd.display().to_string(), "--config".to_owned()], lines)
    }

    /// Of any program that takes a `zoo.cfg` as its last argument.
    pub fn of(program: Vec<String>, lines: &str) -> Result<Self> {
        let folder = TempDir::new().context("make a folder for three members")?;
        let ports = free_ports(9)?;
        let servers = [0, 1, 2].map(|n| server_line(n + 1, [ports[n], ports[3 + n], ports[6 + n]]));
        let ensemble = servers.join("\n");
        for n in 0..3 {
            let data = folder.path().join(n.to_string());
            fs::create_dir(&data).context("make a member's folder")?;
            fs::write(data.join("myid"), (n + 1).to_string()).context("number a member")?;
            let config = format!(
                "dataDir={}\nclientPort={}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n\
                 4lw.commands.whitelist=srvr\n{lines}\n{ensemble}\n",
                data.display(),
                ports[6 + n]
            );
            fs::write(data.with_extension("cfg"), config).context("configure a member")?;
        }
        let clients = [6, 7, 8].map(|at| SocketAddr::from(([127, 0, 0, 1], ports[at])));
        let processes = [None, None, None];
        let mut ensemble = Self { program, processes, clients, servers, folder };
        for member in 0..3 {
            ensemble.launch(member)?;
        }
        for member in 0..3 {
            ensemble.wait_serving(member)?;
        }
        Ok(ensemble)
    }

    /// What a client connects to.
    pub fn hosts(&self) -> String {
        self.clients.map(|address| address.to_string()).join(",")
    }

    /// The members' lines in the file, by their numbers.
    pub fn servers(&self) -> &[String; 3] {
        &self.servers
    }

    /// Which member says that it leads.
    pub fn leader(&self) -> Result<usize> {
        let begun = Instant::now();
        loop {
            if let Some(leader) = (0..3).find(|member| self.mode(*member).as_deref() == Some("leader")) {
                return Ok(leader);
            }
            ensure!(begun.elapsed() < SERVE_LIMIT, "no member leads; {}", self.last_words());
            sleep(LOOK_INTERVAL);
        }
    }

    /// Kills a member as a lost machine would.
    pub fn kill(&mut self, member: usize) -> Result<()> {
        let mut process = self.processes[member].take().context("it runs")?;
        process.kill().context("kill a member")?;
        process.wait().context("wait for a killed member")?;
        Ok(())
    }

    /// Starts a member that was killed; returns when it serves.
    pub fn start_again(&mut self, member: usize) -> Result<()> {
        self.launch(member)?;
        self.wait_serving(member)
    }

    /// Asks a member to end, waits until it has, and starts it again.
    pub fn restart(&mut self, member: usize) -> Result<()> {
        let process = self.processes[member].take().context("it runs")?;
        kill_process(Pid::from_child(&process), Signal::TERM).context("ask a member to end")?;
        let status = self.wait_end(process)?;
        ensure!(status.success(), "member {member} ended with {status}; {}", self.last_words());
        self.start_again(member)
    }

    /// The ends of the members' logs.
    pub fn last_words(&self) -> String {
        let words = |member| {
            let log = fs::read_to_string(self.log(member)).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            format!("member {member}:\n{}\n", lines[lines.len().saturating_sub(25)..].join("\n"))
        };
        (0..3).map(words).collect()
    }

    /// Starts a member without waiting for it: alone it could not serve.
    pub fn launch(&mut self, member: usize) -> Result<()> {
        let program = Program::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .args(&self.program)
            .arg(self.folder.path().join(format!("{member}.cfg")));
        self.processes[member] = Some(program.spawn(&self.log(member))?);
        Ok(())
    }

    pub fn wait_serving(&self, member: usize) -> Result<()> {
        let begun = Instant::now();
        while self.mode(member).is_none() {
            ensure!(begun.elapsed() < SERVE_LIMIT, "member {member} does not serve; {}", self.last_words());
            sleep(LOOK_INTERVAL);
        }
        Ok(())
    }

    fn wait_end(&self, mut process: Child) -> Result<ExitStatus> {
        let asked = Instant::now();
        loop {
            if let Some(status) = process.try_wait().context("wait for a member's end")? {
                return Ok(status);
            }
            if asked.elapsed() > END_LIMIT {
                process.kill().context("kill a member that does not end")?;
                bail!("a member did not end within {} s; {}", END_LIMIT.as_secs(), self.last_words());
            }
            sleep(LOOK_INTERVAL);
        }
    }

    fn mode(&self, member: usize) -> Option<String> {
        mode(self.clients[member])
    }

    fn log(&self, member: usize) -> PathBuf {
        self.folder.path().join(format!("{member}.log"))
    }
}

impl Drop for LocalEnsemble {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().flatten() {
            // Gone already is as good.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// As a `zoo.cfg` and `reconfig` have it: the ports are those for peers, for elections and for clients.
pub fn server_line(number: usize, [peers, elections, clients]: [u16; 3]) -> String {
    format!("server.{number}=127.0.0.1:{peers}:{elections}:participant;127.0.0.1:{clients}")
}

/// What part in its ensemble a server says it has; nothing while it serves nobody.
pub fn mode(server: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&server, ASK_LIMIT).ok()?;
    stream.set_read_timeout(Some(ASK_LIMIT)).ok()?;
    stream.write_all(b"srvr").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.lines().find_map(|line| line.strip_prefix("Mode: ")).map(str::to_owned)
}
