//! An ensemble of one product, from its first process to its last.
//!
//! Both get the same `zoo.cfg`. Each process is killed by the kernel when this one ends, however that ends.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use zke_e2e::local_ensemble::{free_ports, mode};
use zke_e2e::program::Program;

/// A JVM on a busy machine, and an election.
const START_LIMIT: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// What Debian's package gives ZooKeeper.
pub const HEAP: &str = "-Xmx1000m";
/// Enough to see why a server did not start.
const LAST_WORDS: usize = 2_000;

#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    #[value(name = "zookeeper")]
    ZooKeeper,
    #[value(name = "zkd")]
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
pub struct Servers {
    processes: Vec<Child>,
    /// The leader's first.
    addresses: Vec<SocketAddr>,
    folder: PathBuf,
}

impl Servers {
    /// Starts `members` servers on empty data folders below `folder`; returns when all serve.
    pub fn start(
        product: Product,
        members: u8,
        programs: &Programs,
        settings: &Settings,
        folder: &Path,
    ) -> Result<Servers> {
        let ports = free_ports(3 * usize::from(members))?;
        let (client_ports, peer_ports) = ports.split_at(usize::from(members));
        let addresses = client_ports.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port))).collect();
        let mut servers = Servers { processes: Vec::new(), addresses, folder: folder.to_owned() };
        let ensemble = ensemble(members, peer_ports);
        for (at, port) in client_ports.iter().enumerate() {
            let data = folder.join(format!("{}-{}", product.name(), at + 1));
            fs::create_dir_all(&data).with_context(|| format!("create {}", data.display()))?;
            fs::write(data.join("myid"), (at + 1).to_string()).context("number a server")?;
            let config = data.with_extension("cfg");
            fs::write(&config, zoo_cfg(&data, *port, settings, &ensemble)).context("configure a server")?;
            let server = program(product, programs, settings, &config)?;
            servers.processes.push(server.spawn(&data.with_extension("log"))?);
        }
        match servers.wait_serving() {
            Ok(()) => Ok(servers),
            Err(error) => Err(error.context(format!("the servers' last words:\n{}", servers.last_words()))),
        }
    }

    /// Of the leader first, then of the others.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    pub fn pids(&self) -> impl Iterator<Item = u32> {
        self.processes.iter().map(Child::id)
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

    /// Waits until each server has a part in the ensemble, then puts the leader first: so the load of one client goes
    /// to the leader, whoever that is.
    fn wait_serving(&mut self) -> Result<()> {
        let begun = Instant::now();
        loop {
            for process in &mut self.processes {
                if let Some(status) = process.try_wait().context("look after a server")? {
                    bail!("a server ended at once: {status}");
                }
            }
            let modes: Vec<_> = self.addresses.iter().map(|address| mode(*address)).collect();
            let leads = |mode: &Option<String>| mode.as_deref().is_some_and(|mode| mode != "follower");
            if modes.iter().all(Option::is_some)
                && let Some(leader) = modes.iter().position(leads)
            {
                self.addresses.swap(0, leader);
                return Ok(());
            }
            if begun.elapsed() > START_LIMIT {
                bail!("the servers did not all serve within {} s", START_LIMIT.as_secs());
            }
            sleep(LOOK_INTERVAL);
        }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // Gone already is as good. What is on its disk is of no use to anyone.
            let _ = process.kill();
            let _ = process.wait();
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
