//! Four-letter words: the text that a person or a probe gets for typing one into the client port.
//!
//! The words are ZooKeeper's, and so is the text, to the letter: clients, probes and dashboards take it apart. Knows
//! nothing of the server but what a [`ServerView`] says of one moment.

use std::env;
use std::fmt::{self, Write as _};
use std::net::SocketAddr;

use zke_wire::Zxid;

use crate::config::{Config, Ensemble, Listen, Role};

/// What comes before the comma is the ZooKeeper whose behaviour clients may expect, then which one this really is.
/// Clients take the first part apart to decide what they can ask for.
const VERSION: &str = concat!("3.9.5-zkd-", env!("CARGO_PKG_VERSION"));

/// Reproducible builds know no time; a release may name its own.
const BUILT_ON: &str = match option_env!("ZKD_BUILT_ON") {
    Some(time) => time,
    None => "1970-01-01 00:00 UTC",
};

const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests\n";

/// The answer to `word`, after which the connection is closed; `None` if ZooKeeper has no such word, so that there is
/// nothing to say. `view` is asked only if needed and gives `None` while clients are not served.
pub fn answer(word: [u8; 4], config: &Config, view: impl FnOnce() -> Option<ServerView>) -> Option<String> {
    let word = str::from_utf8(&word).ok().filter(|word| WORDS.contains(word))?;
    if !config.four_letter_words.allows(word) {
        return Some(format!("{word} is not executed because it is not in the whitelist.\n"));
    }
    if word == "ruok" {
        return Some("imok".to_owned());
    }
    if word == "envi" {
        return Some(environment());
    }
    let view = view();
    if word == "isro" {
        let mode = view.map(|view| view.mode);
        return Some(mode.map_or("null", |mode| if mode == Mode::ReadOnly { "ro" } else { "rw" }).to_owned());
    }
    let Some(view) = view else { return Some(NOT_SERVING.to_owned()) };
    let mut text = String::new();
    let written = match word {
        "srvr" => write_version(&mut text, &view).and_then(|()| write_server(&mut text, &view)),
        "stat" => write_version(&mut text, &view)
            .and_then(|()| write_clients(&mut text, &view))
            .and_then(|()| write_server(&mut text, &view)),
        "mntr" => write_monitor(&mut text, &view),
        "conf" => write_config(&mut text, config, &view),
        _ => writeln!(text, "{word} is not executed because this server does not know it yet."),
    };
    written.expect("writing to a string cannot fail");
    Some(text)
}

/// All that ZooKeeper knows.
const WORDS: [&str; 20] = [
    "conf", "cons", "crst", "dirs", "dump", "envi", "gtmk", "hash", "isro", "lead", "mntr", "orst", "ruok",
    "srst", "srvr", "stat", "stmk", "wchc", "wchp", "wchs",
];

/// Which words are answered (`4lw.commands.whitelist`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whitelist {
    All,
    Words(Vec<String>),
}

impl Whitelist {
    /// Takes words between commas; `*` anywhere is all of them.
    pub fn parse(text: &str) -> Self {
        let words: Vec<String> = text.split(',').map(|word| word.trim().to_owned()).collect();
        if words.iter().any(|word| word == "*") { Self::All } else { Self::Words(words) }
    }

    pub fn allows(&self, word: &str) -> bool {
        match self {
            Self::All => true,
            Self::Words(words) => words.iter().any(|allowed| allowed == word),
        }
    }
}

/// `srvr` alone, as in ZooKeeper.
impl Default for Whitelist {
    fn default() -> Self {
        Self::Words(vec!["srvr".to_owned()])
    }
}

/// What the words tell of a server that serves, at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerView {
    pub mode: Mode,
    pub latency: LatencyMs,
    /// Messages from and to clients since the start.
    pub received: u64,
    pub sent: u64,
    /// Read and not answered yet.
    pub outstanding: u64,
    pub uptime_ms: u64,
    pub zxid: Zxid,
    pub node_count: u64,
    pub watch_count: u64,
    pub ephemerals_count: u64,
    /// Bytes of paths and data.
    pub approximate_data_size: u64,
    /// Sessions of the whole ensemble.
    pub global_sessions: u64,
    /// Members with a vote; `None` for a server alone.
    pub quorum_size: Option<u64>,
    pub open_files: u64,
    pub max_open_files: u64,
    pub data_dir_bytes: u64,
    pub log_dir_bytes: u64,
    pub clients: Vec<ClientView>,
}

/// Of requests, from the last byte read to the answer, since the start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatencyMs {
    pub min: u64,
    pub avg: f64,
    pub max: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Leader(LeaderView),
    Follower,
    Observer,
    Standalone,
    /// Without a quorum, for clients that asked for it.
    ReadOnly,
}

/// What only a leader knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaderView {
    /// Members that follow it, with a vote or without.
    pub learners: u64,
    /// Of those with a vote, how many are up to date.
    pub synced_followers: u64,
    /// Of those without, how many are up to date.
    pub synced_observers: u64,
    /// Since it leads.
    pub uptime_ms: u64,
    /// `None` before its first proposal.
    pub proposals: Option<ProposalSizes>,
}

/// In bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProposalSizes {
    pub last: u64,
    pub min: u64,
    pub max: u64,
}

/// One connection of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientView {
    pub address: SocketAddr,
    /// Requests read and not answered yet.
    pub queued: u64,
    pub received: u64,
    pub sent: u64,
}

impl Mode {
    /// Tools look for these words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Leader(_) => "leader",
            Self::Follower => "follower",
            Self::Observer => "observer",
            Self::Standalone => "standalone",
            Self::ReadOnly => "read-only",
        }
    }

    /// What a member of an ensemble is doing, in ZooKeeper's words.
    fn peer_state(self) -> Option<&'static str> {
        match self {
            Self::Leader(_) => Some("leading - broadcast"),
            Self::Follower => Some("following - broadcast"),
            Self::Observer => Some("observing - broadcast"),
            Self::Standalone | Self::ReadOnly => None,
        }
    }
}

/// As much of Java's as there is without Java. kazoo learns the server's version here.
fn environment() -> String {
    let (os, arch) = (env::consts::OS, env::consts::ARCH);
    format!("Environment:\nzookeeper.version={VERSION}, built on {BUILT_ON}\nos.name={os}\nos.arch={arch}\n")
}

fn write_version(text: &mut String, view: &ServerView) -> fmt::Result {
    writeln!(text, "Zookeeper version: {VERSION}, built on {BUILT_ON}")?;
    if view.mode == Mode::ReadOnly {
        writeln!(text, "READ-ONLY mode; serving only read-only clients")?;
    }
    Ok(())
}

fn write_clients(text: &mut String, view: &ServerView) -> fmt::Result {
    writeln!(text, "Clients:")?;
    for ClientView { address, queued, received, sent } in &view.clients {
        // 1 is Java's way to say that the connection is waited on for reading.
        writeln!(text, " /{address}[1](queued={queued},recved={received},sent={sent})")?;
    }
    writeln!(text)
}

fn write_server(text: &mut String, view: &ServerView) -> fmt::Result {
    let LatencyMs { min, avg, max } = view.latency;
    writeln!(text, "Latency min/avg/max: {min}/{}/{max}", Decimal(avg))?;
    writeln!(text, "Received: {}", view.received)?;
    writeln!(text, "Sent: {}", view.sent)?;
    writeln!(text, "Connections: {}", view.clients.len())?;
    writeln!(text, "Outstanding: {}", view.outstanding)?;
    writeln!(text, "Zxid: {}", view.zxid)?;
    writeln!(text, "Mode: {}", view.mode.name())?;
    writeln!(text, "Node count: {}", view.node_count)?;
    if let Mode::Leader(leader) = view.mode {
        let [last, min, max] = leader.proposal_sizes();
        writeln!(text, "Proposal sizes last/min/max: {last}/{min}/{max}")?;
    }
    Ok(())
}

fn write_monitor(text: &mut String, view: &ServerView) -> fmt::Result {
    let mut line = |key: &str, value: &dyn fmt::Display| writeln!(text, "zk_{key}\t{value}");
    line("version", &format_args!("{VERSION}, built on {BUILT_ON}"))?;
    line("server_state", &view.mode.name())?;
    if let Some(state) = view.mode.peer_state() {
        line("peer_state", &state)?;
    }
    line("avg_latency", &Decimal(view.latency.avg))?;
    line("max_latency", &view.latency.max)?;
    line("min_latency", &view.latency.min)?;
    line("packets_received", &view.received)?;
    line("packets_sent", &view.sent)?;
    line("num_alive_connections", &view.clients.len())?;
    line("outstanding_requests", &view.outstanding)?;
    line("uptime", &view.uptime_ms)?;
    line("znode_count", &view.node_count)?;
    line("watch_count", &view.watch_count)?;
    line("ephemerals_count", &view.ephemerals_count)?;
    line("approximate_data_size", &view.approximate_data_size)?;
    line("global_sessions", &view.global_sessions)?;
    line("local_sessions", &0)?;
    line("open_file_descriptor_count", &view.open_files)?;
    line("max_file_descriptor_count", &view.max_open_files)?;
    if let Some(quorum_size) = view.quorum_size {
        line("quorum_size", &quorum_size)?;
    }
    if let Mode::Leader(leader) = view.mode {
        line("learners", &leader.learners)?;
        line("synced_followers", &leader.synced_followers)?;
        line("synced_non_voting_followers", &0)?;
        line("synced_observers", &leader.synced_observers)?;
        line("pending_syncs", &0)?;
        line("leader_uptime", &leader.uptime_ms)?;
        let [last, min, max] = leader.proposal_sizes();
        line("last_proposal_size", &last)?;
        line("max_proposal_size", &max)?;
        line("min_proposal_size", &min)?;
    }
    Ok(())
}

fn write_config(text: &mut String, config: &Config, view: &ServerView) -> fmt::Result {
    // -1 is how ZooKeeper shows a port that is not open.
    let port = |listen: &Option<Listen>| listen.as_ref().map_or(-1, |listen| i32::from(listen.port));
    writeln!(text, "clientPort={}", port(&config.clients))?;
    writeln!(text, "secureClientPort={}", port(&config.security.secure_clients))?;
    writeln!(text, "dataDir={}", config.data_dir.display())?;
    writeln!(text, "dataDirSize={}", view.data_dir_bytes)?;
    writeln!(text, "dataLogDir={}", config.log_dir.display())?;
    writeln!(text, "dataLogSize={}", view.log_dir_bytes)?;
    writeln!(text, "tickTime={}", config.tick_ms)?;
    writeln!(text, "maxClientCnxns={}", config.max_client_cnxns.map_or(0, u32::from))?;
    writeln!(text, "minSessionTimeout={}", config.session_timeout.min_ms)?;
    writeln!(text, "maxSessionTimeout={}", config.session_timeout.max_ms)?;
    writeln!(text, "clientPortListenBacklog=-1")?;
    let Ensemble::ZooCfg { my_id, servers } = &config.ensemble else { return writeln!(text, "serverId=0") };
    writeln!(text, "serverId={my_id}")?;
    writeln!(text, "initLimit={}", config.init_limit_ticks)?;
    writeln!(text, "syncLimit={}", config.sync_limit_ticks)?;
    writeln!(text, "electionAlg=3")?;
    if let Some(own) = servers.iter().find(|server| server.id == *my_id) {
        writeln!(text, "electionPort={}", own.election_port)?;
        writeln!(text, "quorumPort={}", own.peer.port)?;
        writeln!(text, "peerType={}", if own.role == Role::Observer { 1 } else { 0 })?;
    }
    writeln!(text, "membership: ")?;
    servers.iter().try_for_each(|server| writeln!(text, "{server}"))
}

impl LeaderView {
    /// Last, min and max; -1 as long as there were none.
    fn proposal_sizes(self) -> [i64; 3] {
        let shown = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.proposals.map_or([-1; 3], |sizes| [sizes.last, sizes.min, sizes.max].map(shown))
    }
}

/// A number as Java shows a double rounded to four places: with one place at least.
struct Decimal(f64);

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", (self.0 * 1e4).round() / 1e4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Arguments;

    fn config(lines: &str) -> Config {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("zoo.cfg");
        std::fs::write(&file, lines).expect("a file");
        let arguments = Arguments { config: Some(file), data_dir: None, properties: vec![], pod_name: None };
        Config::load(&arguments).expect("a valid configuration").config
    }

    fn open() -> Config {
        config("dataDir=/data\nclientPort=2181\ntickTime=2000\n4lw.commands.whitelist=*\n")
    }

    fn view(mode: Mode) -> ServerView {
        ServerView {
            mode,
            latency: LatencyMs { min: 0, avg: 0.512_36, max: 12 },
            received: 70,
            sent: 71,
            outstanding: 2,
            uptime_ms: 5000,
            zxid: Zxid(0x2_0000_0005),
            node_count: 9,
            watch_count: 3,
            ephemerals_count: 1,
            approximate_data_size: 417,
            global_sessions: 4,
            quorum_size: None,
            open_files: 60,
            max_open_files: 1024,
            data_dir_bytes: 100,
            log_dir_bytes: 200,
            clients: vec![
                ClientView { address: ([127, 0, 0, 1], 5000).into(), queued: 1, received: 8, sent: 7 },
                ClientView {
                    address: "[::1]:5001".parse().expect("an address"),
                    queued: 0,
                    received: 1,
                    sent: 0,
                },
            ],
        }
    }

    fn leader() -> Mode {
        Mode::Leader(LeaderView {
            learners: 2,
            synced_followers: 1,
            synced_observers: 0,
            uptime_ms: 4000,
            proposals: Some(ProposalSizes { last: 48, min: 36, max: 92 }),
        })
    }

    fn say(word: &[u8; 4], mode: Mode) -> String {
        answer(*word, &open(), || Some(view(mode)))
            .expect("a known word")
            .replace(env!("CARGO_PKG_VERSION"), "VERSION")
    }

    const VERSION_LINE: &str = "Zookeeper version: 3.9.5-zkd-VERSION, built on 1970-01-01 00:00 UTC\n";

    #[test]
    fn words_that_nobody_knows_get_nothing_and_those_not_allowed_a_refusal() {
        let config = config("dataDir=/data\nclientPort=2181\n");
        let say = |word| answer(word, &config, || panic!("nothing of the server is needed"));
        assert_eq!(say(*b"abcd"), None);
        assert_eq!(
            say(*b"ruok").as_deref(),
            Some("ruok is not executed because it is not in the whitelist.\n")
        );
        assert_eq!(
            answer(*b"wchc", &open(), || Some(view(Mode::Follower))).as_deref(),
            Some("wchc is not executed because this server does not know it yet.\n")
        );
    }

    #[test]
    fn a_server_that_does_not_serve_says_so_but_is_ok() {
        let say = |word| answer(word, &open(), || None).expect("a known word");
        assert_eq!(say(*b"ruok"), "imok");
        assert_eq!(say(*b"isro"), "null");
        assert!(say(*b"envi").starts_with("Environment:\n"));
        for word in [*b"srvr", *b"stat", *b"mntr", *b"conf"] {
            assert_eq!(say(word), "This ZooKeeper instance is not currently serving requests\n");
        }
    }

    #[test]
    fn isro() {
        assert_eq!(say(b"isro", Mode::Follower), "rw");
        assert_eq!(say(b"isro", Mode::ReadOnly), "ro");
    }

    #[test]
    fn envi() {
        let text = say(b"envi", Mode::Follower);
        let lines: Vec<&str> = text.lines().collect();
        let version = "zookeeper.version=3.9.5-zkd-VERSION, built on 1970-01-01 00:00 UTC";
        assert_eq!(lines[..2], ["Environment:", version]);
        assert_eq!(lines[2], format!("os.name={}", env::consts::OS));
        assert_eq!((lines.len(), text.ends_with('\n')), (4, true));
    }

    const FOLLOWER: &str = "Latency min/avg/max: 0/0.5124/12
Received: 70
Sent: 71
Connections: 2
Outstanding: 2
Zxid: 0x200000005
Mode: follower
Node count: 9
";

    #[test]
    fn srvr() {
        assert_eq!(say(b"srvr", Mode::Follower), format!("{VERSION_LINE}{FOLLOWER}"));
        let of_leader = FOLLOWER.replace("follower", "leader");
        let expected = format!("{VERSION_LINE}{of_leader}Proposal sizes last/min/max: 48/36/92\n");
        assert_eq!(say(b"srvr", leader()), expected);
        let of_read_only = FOLLOWER.replace("follower", "read-only");
        let expected =
            format!("{VERSION_LINE}READ-ONLY mode; serving only read-only clients\n{of_read_only}");
        assert_eq!(say(b"srvr", Mode::ReadOnly), expected);
    }

    #[test]
    fn a_leader_without_proposals_and_a_latency_of_nothing_look_as_in_java() {
        let leader = LeaderView {
            learners: 0,
            synced_followers: 0,
            synced_observers: 0,
            uptime_ms: 0,
            proposals: None,
        };
        let mut fresh = view(Mode::Leader(leader));
        fresh.latency = LatencyMs { min: 0, avg: 0.0, max: 0 };
        let text = answer(*b"srvr", &open(), || Some(fresh)).expect("a known word");
        assert!(text.contains("Latency min/avg/max: 0/0.0/0\n"), "{text}");
        assert!(text.ends_with("Proposal sizes last/min/max: -1/-1/-1\n"), "{text}");
    }

    #[test]
    fn stat() {
        let clients = "Clients:
 /127.0.0.1:5000[1](queued=1,recved=8,sent=7)
 /[::1]:5001[1](queued=0,recved=1,sent=0)

";
        assert_eq!(say(b"stat", Mode::Follower), format!("{VERSION_LINE}{clients}{FOLLOWER}"));
    }

    const STANDALONE: &str = "zk_version	3.9.5-zkd-VERSION, built on 1970-01-01 00:00 UTC
zk_server_state	standalone
zk_avg_latency	0.5124
zk_max_latency	12
zk_min_latency	0
zk_packets_received	70
zk_packets_sent	71
zk_num_alive_connections	2
zk_outstanding_requests	2
zk_uptime	5000
zk_znode_count	9
zk_watch_count	3
zk_ephemerals_count	1
zk_approximate_data_size	417
zk_global_sessions	4
zk_local_sessions	0
zk_open_file_descriptor_count	60
zk_max_file_descriptor_count	1024
";

    #[test]
    fn mntr() {
        assert_eq!(say(b"mntr", Mode::Standalone), STANDALONE);
        let member = ServerView { quorum_size: Some(3), ..view(leader()) };
        let text = answer(*b"mntr", &open(), || Some(member)).expect("a known word");
        let expected = STANDALONE
            .replace("VERSION", env!("CARGO_PKG_VERSION"))
            .replace("standalone\n", "leader\nzk_peer_state\tleading - broadcast\n");
        let of_leader = "zk_quorum_size	3
zk_learners	2
zk_synced_followers	1
zk_synced_non_voting_followers	0
zk_synced_observers	0
zk_pending_syncs	0
zk_leader_uptime	4000
zk_last_proposal_size	48
zk_max_proposal_size	92
zk_min_proposal_size	36
";
        assert_eq!(text, format!("{expected}{of_leader}"));
    }

    const CONF: &str = "clientPort=2181
secureClientPort=-1
dataDir=/data
dataDirSize=100
dataLogDir=/data
dataLogSize=200
tickTime=2000
maxClientCnxns=60
minSessionTimeout=4000
maxSessionTimeout=40000
clientPortListenBacklog=-1
serverId=0
";

    #[test]
    fn conf() {
        assert_eq!(say(b"conf", Mode::Standalone), CONF);
        let mut of_ensemble = open();
        let server = |id, port: u16| crate::config::Server {
            id: crate::config::ServerId(id),
            peer: crate::config::Address::parse(&format!("127.0.0.1:{port}")).expect("an address"),
            election_port: port + 1000,
            role: Role::Participant,
            clients: None,
        };
        let my_id = crate::config::ServerId(2);
        of_ensemble.ensemble = Ensemble::ZooCfg { my_id, servers: vec![server(1, 2888), server(2, 2889)] };
        let text = answer(*b"conf", &of_ensemble, || Some(view(Mode::Follower))).expect("a known word");
        let expected = "serverId=2
initLimit=10
syncLimit=5
electionAlg=3
electionPort=3889
quorumPort=2889
peerType=0
membership: 
server.1=127.0.0.1:2888:3888:participant
server.2=127.0.0.1:2889:3889:participant
";
        assert_eq!(text, CONF.replace("serverId=0\n", expected));
    }
}
