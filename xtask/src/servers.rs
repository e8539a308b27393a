//! An ensemble of one product, from its first process to its last.
//!
//! Both get the same `zoo.cfg`. Each process is killed by the kernel when the thread that started it ends, however that
//! ends. A member can be killed, asked to end, held and started again, on the disk that it has.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use zke_e2e::local_ensemble::mode;
use zke_e2e::ports::free_ports;
use zke_e2e::program::Program;

/// A JVM on a busy machine, and an election.
const START_LIMIT: Duration = Duration::from_secs(60);
/// A member asked to end answers its clients and hands over first.
const END_LIMIT: Duration = Duration::from_secs(30);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// What is started again must not wait for us.
const END_INTERVAL: Duration = Duration::from_millis(2);
/// What Debian's package gives ZooKeeper.
pub const HEAP: &str = "-Xmx1000m";
/// Enough to see why a server did not start.
const LAST_WORDS: usize = 2_000;

#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Product {
    #[value(name = "zookeeper")]
    ZooKeeper,
    #[value(name = "zkd")]
    #[serde(rename = "zkd")]
    Zkd,
}

impl Product {
    pub fn name(self) -> &'static str {
        match self {
            Self::ZooKeeper => "ZooKeeper",
            Self::Zkd => "zkd",
        }
    }
}

/// What both products are told alike.
pub struct Settings {
    /// Lines of the `zoo.cfg`.
    pub zoo_cfg: &'static str,
    /// `-Dname=value` of the command line, as these words.
    pub properties: &'static [&'static str],
}

pub struct Programs {
    pub zkd: PathBuf,
    /// The folder of jars, if ZooKeeper takes part.
    pub zookeeper: Option<PathBuf>,
}

/// Processes that serve.
pub struct Servers<'a> {
    product: Product,
    programs: &'a Programs,
    settings: &'a Settings,
    /// The one that led at the start is the first.
    members: Vec<Member>,
    folder: PathBuf,
}

struct Member {
    process: Child,
    address: SocketAddr,
    config: PathBuf,
}

impl<'a> Servers<'a> {
    /// Starts `members` servers on empty data folders below `folder`; returns when all serve.
    pub fn start(
        product: Product,
        members: u8,
        programs: &'a Programs,
        settings: &'a Settings,
        folder: &Path,
    ) -> Result<Servers<'a>> {
        let ports = free_ports(3 * usize::from(members))?;
        let (client_ports, peer_ports) = ports.split_at(usize::from(members));
        let folder = folder.to_owned();
        let mut servers = Servers { product, programs, settings, members: Vec::new(), folder };
        let ensemble = ensemble(members, peer_ports);
        for (at, port) in client_ports.iter().enumerate() {
            let data = servers.folder.join(format!("{}-{}", product.name(), at + 1));
            fs::create_dir_all(&data).with_context(|| format!("create {}", data.display()))?;
            fs::write(data.join("myid"), (at + 1).to_string()).context("number a server")?;
            let config = data.with_extension("cfg");
            fs::write(&config, zoo_cfg(&data, *port, settings, &ensemble)).context("configure a server")?;
            let process = servers.launch(&config)?;
            let address = SocketAddr::from(([127, 0, 0, 1], *port));
            servers.members.push(Member { process, address, config });
        }
        let leader = servers.wait_serving()?;
        // So the load of one client goes to the leader, whoever that is.
        servers.members.swap(0, leader);
        Ok(servers)
    }

    /// Of the one that led at the start first, then of the others.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.members.iter().map(|member| member.address).collect()
    }

    pub fn pids(&self) -> impl Iterator<Item = u32> {
        self.members.iter().map(|member| member.process.id())
    }

    /// Kills a member as a lost machine would.
    pub fn kill(&mut self, member: usize) -> Result<()> {
        let process = &mut self.members[member].process;
        process.kill().context("kill a server")?;
        process.wait().context("wait for a killed server").map(drop)
    }

    /// Asks a member to end, and waits until it has.
    pub fn ask_to_end(&mut self, member: usize) -> Result<ExitStatus> {
        self.signal(member, Signal::TERM)?;
        let asked = Instant::now();
        loop {
            if let Some(status) =
                self.members[member].process.try_wait().context("wait for a server's end")?
            {
                return Ok(status);
            }
            ensure!(asked.elapsed() < END_LIMIT, "a server did not end within {} s", END_LIMIT.as_secs());
            sleep(END_INTERVAL);
        }
    }

    /// Holds a member: its connections stay, and nothing of it goes on.
    pub fn hold(&self, member: usize) -> Result<()> {
        self.signal(member, Signal::STOP)
    }

    /// Lets a member that was held go on.
    pub fn go_on(&self, member: usize) -> Result<()> {
        self.signal(member, Signal::CONT)
    }

    /// Starts a member that is gone, without waiting for it.
    pub fn start_again(&mut self, member: usize) -> Result<()> {
        self.members[member].process = self.launch(&self.members[member].config)?;
        Ok(())
    }

    /// The ends of all logs, with the names of their files.
    pub fn last_words(&self) -> String {
        let files = fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let logs = files.filter(|file| file.extension().is_some_and(|extension| extension == "log"));
        logs.map(|log| {
            let text = fs::read_to_string(&log).unwrap_or_default();
            let end = text.char_indices().rev().nth(LAST_WORDS).map_or(0, |(at, _)| at);
            format!("{}:\n{}\n", log.display(), &text[end..])
        })
        .collect()
    }

    /// Waits until each server has a part in the ensemble and one leads; returns which.
    pub fn wait_serving(&mut self) -> Result<usize> {
        let begun = Instant::now();
        loop {
            for member in &mut self.members {
                if let Some(status) = member.process.try_wait().context("look after a server")? {
                    bail!(
                        "a server ended at once: {status}; the servers' last words:\n{}",
                        self.last_words()
                    );
                }
            }
            let modes: Vec<_> = self.members.iter().map(|member| mode(member.address)).collect();
            let leads = |mode: &Option<String>| mode.as_deref().is_some_and(|mode| mode != "follower");
            let leaders: Vec<_> = (0..modes.len()).filter(|at| leads(&modes[*at])).collect();
            if let ([leader], true) = (leaders.as_slice(), modes.iter().all(Option::is_some)) {
                return Ok(*leader);
            }
            if begun.elapsed() > START_LIMIT {
                let limit = START_LIMIT.as_secs();
                bail!(
                    "the servers did not all serve within {limit} s; their last words:\n{}",
                    self.last_words()
                );
            }
            sleep(LOOK_INTERVAL);
        }
    }

    fn launch(&self, config: &Path) -> Result<Child> {
        let server = program(self.product, self.programs, self.settings, config)?;
        server.spawn(&config.with_extension("log"))
    }

    fn signal(&self, member: usize, signal: Signal) -> Result<()> {
        let pid = Pid::from_child(&self.members[member].process);
        kill_process(pid, signal).with_context(|| format!("send a server {signal:?}"))
    }
}

impl Drop for Servers<'_> {
    fn drop(&mut self) {
        for member in &mut self.members {
            // Gone already is as good. What is on its disk is of no use to anyone.
            let _ = member.process.kill();
            let _ = member.process.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn program(product: Product, programs: &Programs, settings: &Settings, config: &Path) -> Result<Program> {
    // The kernel ends it when this process is gone, however that went.
    let guarded = Program::new("setpriv").args(["--pdeathsig", "KILL", "--"]);
    Ok(match product {
        Product::Zkd => guarded
            .arg(&programs.zkd)
            .args(settings.properties)
            .arg("--config")
            .arg(config)
            .env("RUST_LOG", "warn"),
        Product::ZooKeeper => {
            let jars = programs.zookeeper.as_ref().context("ZooKeeper was not fetched")?;
            guarded
                .arg("java")
                .args([
                    HEAP,
                    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                    "-Dzookeeper.admin.enableServer=false",
                ])
                .args(settings.properties)
                .arg("-cp")
                .arg(jars.join("*"))
                .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
                .arg(config)
        }
    })
}

fn zoo_cfg(data: &Path, client_port: u16, settings: &Settings, ensemble: &str) -> String {
    format!(
        "dataDir={}\nclientPort={client_port}\nclientPortAddress=127.0.0.1\ninitLimit=10\nsyncLimit=5\n\
         maxClientCnxns=0\nadmin.enableServer=false\n4lw.commands.whitelist=srvr\n{}{ensemble}",
        data.display(),
        settings.zoo_cfg
    )
}

/// The lines that name all members; none for a server that is alone.
fn ensemble(members: u8, peer_ports: &[u16]) -> String {
    if members == 1 {
        return String::new();
    }
    let ports = peer_ports.chunks_exact(2).enumerate();
    ports.map(|(at, ports)| format!("server.{}=127.0.0.1:{}:{}\n", at + 1, ports[0], ports[1])).collect()
}
