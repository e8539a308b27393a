//! ZooKeeper's own command line, of its release, says the same here and at Apache ZooKeeper.
//!
//! What must differ is masked: zxids, times, sessions, the servers' addresses. Events are compared with events and
//! answers with answers: the command line prints them with two threads, in no order that would be the servers'.

use std::fs;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use zke_e2e::checkout::Checkout;
use zke_e2e::java::Java;
use zke_e2e::local_ensemble::{LocalEnsemble, free_ports, mode};
use zke_e2e::program::Program;
use zke_e2e::progress::Progress;

use crate::group::{Group, told};
use crate::programs;

const SCRIPT: &str = include_str!("zkcli.txt");
/// Some 130 commands, most of them a round trip.
const SESSION_LIMIT: Duration = Duration::from_secs(60);
/// A JVM's start on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Both servers have it.
const SETTINGS: &str = "enforceQuota=true";

#[test]
#[ignore = "needs Maven and a JDK: cargo xtask test"]
fn zkcli_says_what_it_says_at_apache_zookeeper() -> Result<()> {
    let checkout = Checkout::find()?;
    let progress = Progress::default();
    let zkd = programs::binaries(&checkout, &progress)?.join("zkd");
    let java = Java::build(&checkout.path("e2e/java"), &progress)?;
    let zookeeper = ZooKeeper::start(&java)?;
    let ensemble = LocalEnsemble::start(&zkd, SETTINGS)?;
    let (wanted, found) = thread::scope(|scope| {
        let wanted = scope.spawn(|| Said::at(&java, &zookeeper.address.to_string()));
        let found = Said::at(&java, &ensemble.hosts());
        (wanted.join().expect("it does not panic"), found)
    });
    let (wanted, found) = (wanted?, found?);
    same(&wanted.answers, &found.answers)?;
    same(&wanted.events, &found.events)?;
    println!("{} lines of answers and {} events are the same", wanted.answers.len(), wanted.events.len());
    // So that neither of two broken sessions is taken for the other.
    ensure!(wanted.answers.len() > 200 && wanted.events.len() > 8, "that was too little");
    Ok(())
}

/// What one session with the command line printed, masked.
struct Said {
    answers: Vec<String>,
    events: Vec<String>,
}

impl Said {
    fn at(java: &Java, hosts: &str) -> Result<Self> {
        let commands = SCRIPT.lines().filter(|line| !line.starts_with('#'));
        let typed: String = commands.map(|line| line.replace("{server}", hosts) + "\n").collect();
        let text = Program::new("sh")
            // Its complaints belong between its answers.
            .args(["-c", "exec java \"$@\" 2>&1", "sh"])
            .args(java.arguments("org.apache.zookeeper.ZooKeeperMain"))
            .args(["-waitforconnection", "-server", hosts])
            .input(typed)
            .within(SESSION_LIMIT)
            .output()?;
        let lines = text.lines().filter(|line| !line.is_empty() && *line != "WATCHER::");
        let (events, mut answers): (Vec<_>, Vec<_>) =
            lines.map(|line| masked(line, hosts)).partition(|line| line.starts_with("WatchedEvent"));
        sort_identities(&mut answers);
        // The last one of a session is the client's own, and printed only if its end leaves the time.
        let events = events.into_iter().filter(|event| !event.contains("state:Closed")).collect();
        Ok(Self { answers, events })
    }
}

fn masked(line: &str, hosts: &str) -> String {
    const CHANGING: [&str; 5] = ["cZxid = ", "mZxid = ", "pZxid = ", "ctime = ", "mtime = "];
    if let Some(name) = CHANGING.iter().find(|name| line.starts_with(*name)) {
        return format!("{name}…");
    }
    if line.starts_with("ephemeralOwner = ") && line != "ephemeralOwner = 0x0" {
        return "ephemeralOwner = a session".to_owned();
    }
    match line.split_once(" zxid: ") {
        Some((event, _)) if line.starts_with("WatchedEvent") => event.to_owned(),
        _ => line.replace(hosts, "the servers"),
    }
}

/// Who a client is stands in the order of a hash table at Apache ZooKeeper.
fn sort_identities(lines: &mut [String]) {
    let is_identity = |line: &String| line.starts_with("digest: ") || line.starts_with("ip: ");
    lines.chunk_by_mut(|one, next| is_identity(one) && is_identity(next)).for_each(<[String]>::sort);
}

fn same(wanted: &[String], found: &[String]) -> Result<()> {
    let differ = |at: &usize| wanted.get(*at) != found.get(*at);
    let Some(at) = (0..wanted.len().max(found.len())).find(differ) else { return Ok(()) };
    let around =
        |lines: &[String]| told(&lines[at.saturating_sub(6).min(lines.len())..(at + 3).min(lines.len())]);
    bail!("Apache ZooKeeper:\n{}here:\n{}", around(wanted), around(found))
}

/// A server of Apache ZooKeeper, alone.
struct ZooKeeper {
    address: SocketAddr,
    _process: Group,
    _folder: TempDir,
}

impl ZooKeeper {
    fn start(java: &Java) -> Result<Self> {
        let folder = TempDir::new().context("make a folder for ZooKeeper")?;
        let port = free_ports(1)?[0];
        let config = folder.path().join("zoo.cfg");
        let data = folder.path().display();
        let text = format!(
            "dataDir={data}\nclientPort={port}\nclientPortAddress=127.0.0.1\ntickTime=2000\nforceSync=no\n\
             admin.enableServer=false\n4lw.commands.whitelist=srvr\nextendedTypesEnabled=true\n{SETTINGS}\n"
        );
        fs::write(&config, text).context("configure ZooKeeper")?;
        let mut process = Group::new("ZooKeeper")?;
        let main = java.arguments("org.apache.zookeeper.server.quorum.QuorumPeerMain");
        let program = ["java".to_owned()].into_iter().chain(main).chain([config.display().to_string()]);
        process.start("zookeeper", &program.collect::<Vec<_>>())?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let begun = Instant::now();
        while mode(address).is_none() {
            ensure!(begun.elapsed() < START_LIMIT, "ZooKeeper does not serve:\n{}", told(&process.lines()));
            thread::sleep(LOOK_INTERVAL);
        }
        Ok(Self { address, _process: process, _folder: folder })
    }
}
