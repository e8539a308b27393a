//! ZooKeeper's own command line, of its release, says the same here and at Apache ZooKeeper.
//!
//! What must differ is masked: zxids, times, sessions, the servers' addresses. Events are compared with events and
//! answers with answers: the command line prints them with two threads, in no order that would be the servers'.
//! Most of it is asked of Apache ZooKeeper alone; what changes an ensemble, of three servers.

use std::fs;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use zke_e2e::checkout::Checkout;
use zke_e2e::java::Java;
use zke_e2e::local_ensemble::{LocalEnsemble, mode, server_line};
use zke_e2e::ports::free_ports;
use zke_e2e::program::Program;
use zke_e2e::progress::Progress;

use crate::group::{Group, told};
use crate::programs;

const SCRIPT: &str = include_str!("zkcli.txt");
const RECONFIG_SCRIPT: &str = include_str!("zkcli-reconfig.txt");
/// Some 130 commands, most of them a round trip.
const SESSION_LIMIT: Duration = Duration::from_secs(60);
/// A JVM's start on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Both servers have it.
const SETTINGS: &str = "enforceQuota=true";
/// Both ensembles have these; the super user is `super:test`. ZooKeeper does not start without the two limits.
const RECONFIG_SETTINGS: &str = "reconfigEnabled=true\ntickTime=2000\ninitLimit=10\nsyncLimit=5\nforceSync=no\n\
     DigestAuthenticationProvider.superDigest=super:D/InIHSb7yEEbrWz8b9l71RjZJU=";
const QUORUM_PEER: &str = "org.apache.zookeeper.server.quorum.QuorumPeerMain";

#[test]
#[ignore = "needs Maven and a JDK: cargo xtask test"]
fn zkcli_says_what_it_says_at_apache_zookeeper() -> Result<()> {
    let checkout = Checkout::find()?;
    let progress = Progress::default();
    let zkd = programs::binaries(&checkout, &progress)?.join("zkd");
    let java = Java::build(&checkout.path("e2e/java"), &progress)?;
    let zookeeper = ZooKeeper::start(&java)?;
    let ensemble = LocalEnsemble::start(&zkd, SETTINGS)?;
    let places = |hosts| Places { hosts, others: Vec::new() };
    let (wanted, found) = (places(zookeeper.address.to_string()), places(ensemble.hosts()));
    let said = same_at(&java, SCRIPT, &wanted, &found)?;
    // So that neither of two broken sessions is taken for the other.
    ensure!(said.answers.len() > 200 && said.events.len() > 8, "that was too little");
    Ok(())
}

#[test]
#[ignore = "needs Maven and a JDK: cargo xtask test"]
fn zkcli_changes_an_ensemble_as_it_does_at_apache_zookeeper() -> Result<()> {
    let checkout = Checkout::find()?;
    let progress = Progress::default();
    let zkd = programs::binaries(&checkout, &progress)?.join("zkd");
    let java = Java::build(&checkout.path("e2e/java"), &progress)?;
    let peer = ["java".to_owned()].into_iter().chain(java.arguments(QUORUM_PEER)).collect();
    let zookeeper = LocalEnsemble::of(peer, RECONFIG_SETTINGS)?;
    let ensemble = LocalEnsemble::start(&zkd, RECONFIG_SETTINGS)?;
    let absent = free_ports(3)?;
    let absent = server_line(4, [absent[0], absent[1], absent[2]]);
    let (wanted, found) = (Places::of(&zookeeper, &absent), Places::of(&ensemble, &absent));
    let said = same_at(&java, RECONFIG_SCRIPT, &wanted, &found)?;
    ensure!(said.answers.len() > 100 && said.events.len() > 2, "that was too little");
    Ok(())
}

/// Types the script at both, compares, and returns what both have said.
fn same_at(java: &Java, script: &str, zookeeper: &Places, zkd: &Places) -> Result<Said> {
    let (wanted, found) = thread::scope(|scope| {
        let wanted = scope.spawn(|| Said::at(java, script, zookeeper));
        let found = Said::at(java, script, zkd);
        (wanted.join().expect("it does not panic"), found)
    });
    let (wanted, found) = (wanted?, found?);
    same(&wanted.answers, &found.answers)?;
    same(&wanted.events, &found.events)?;
    println!("{} lines of answers and {} events are the same", wanted.answers.len(), wanted.events.len());
    Ok(wanted)
}

/// Where servers are: what a script writes in braces, and what that is at one product.
struct Places {
    hosts: String,
    others: Vec<(String, String)>,
}

impl Places {
    fn of(ensemble: &LocalEnsemble, absent: &str) -> Self {
        let lines = ensemble.servers().iter().map(String::as_str).chain([absent]);
        let mut others: Vec<_> =
            (1..).zip(lines.clone()).map(|(n, line)| (format!("{{server {n}}}"), line.to_owned())).collect();
        others.push(("{observer 4}".to_owned(), absent.replace("participant", "observer")));
        let clients = lines.filter_map(|line| line.split_once(';'));
        others.extend((1..).zip(clients).map(|(n, (_, at))| (format!("{{client {n}}}"), at.to_owned())));
        Self { hosts: ensemble.hosts(), others }
    }

    /// The lines before the addresses in them.
    fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        let others = self.others.iter().map(|(name, place)| (name.as_str(), place.as_str()));
        others.chain([("{servers}", self.hosts.as_str())])
    }

    fn filled_in(&self, line: &str) -> String {
        self.all().fold(line.to_owned(), |line, (name, place)| line.replace(name, place))
    }

    fn left_out(&self, line: &str) -> String {
        self.all().fold(line.to_owned(), |line, (name, place)| line.replace(place, name))
    }
}

/// What one session with the command line printed, masked.
struct Said {
    answers: Vec<String>,
    events: Vec<String>,
}

impl Said {
    fn at(java: &Java, script: &str, places: &Places) -> Result<Self> {
        let commands = script.lines().filter(|line| !line.starts_with('#'));
        let typed: String = commands.map(|line| places.filled_in(line) + "\n").collect();
        let text = Program::new("sh")
            // Its complaints belong between its answers.
            .args(["-c", "exec java \"$@\" 2>&1", "sh"])
            .args(java.arguments("org.apache.zookeeper.ZooKeeperMain"))
            .args(["-waitforconnection", "-server", &places.hosts])
            .input(typed)
            .within(SESSION_LIMIT)
            .output()?;
        let lines = text.lines().filter(|line| !line.is_empty() && *line != "WATCHER::");
        let (events, mut answers): (Vec<_>, Vec<_>) =
            lines.map(|line| masked(line, places)).partition(|line| line.starts_with("WatchedEvent"));
        sort_identities(&mut answers);
        // The last one of a session is the client's own, and printed only if its end leaves the time.
        let events = events.into_iter().filter(|event| !event.contains("state:Closed")).collect();
        Ok(Self { answers, events })
    }
}

fn masked(line: &str, places: &Places) -> String {
    const CHANGING: [&str; 5] = ["cZxid = ", "mZxid = ", "pZxid = ", "ctime = ", "mtime = "];
    if let Some(name) = CHANGING.iter().find(|name| line.starts_with(*name)) {
        return format!("{name}…");
    }
    if line.starts_with("ephemeralOwner = ") && line != "ephemeralOwner = 0x0" {
        return "ephemeralOwner = a session".to_owned();
    }
    match line.split_once(" zxid: ") {
        Some((event, _)) if line.starts_with("WatchedEvent") => event.to_owned(),
        _ => version_masked(&places.left_out(line)),
    }
}

/// A configuration's version is a zxid: behind its name, or in front of the addresses for clients.
fn version_masked(line: &str) -> String {
    match line.split_once(" {client") {
        Some((version, addresses)) if u64::from_str_radix(version, 16).is_ok() => {
            format!("… {{client{addresses}")
        }
        _ if line.starts_with("version=") => "version=…".to_owned(),
        _ => line.to_owned(),
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
        let main = java.arguments(QUORUM_PEER);
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
