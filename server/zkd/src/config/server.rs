//! A `server.N` line: one server of an ensemble that a file describes.

use std::fmt;

use super::ConfigError;
use super::address::{Address, Host, Listen, parse_port};
use super::settings::Setting;

/// The N of a `server.N` line, written in the `myid` file of the server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub u8);

impl ServerId {
    pub(super) fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether a server has a vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Participant,
    Observer,
}

/// One server as the file describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    pub id: ServerId,
    /// Where its peers reach it.
    pub peer: Address,
    /// ZooKeeper's second port between peers. Nothing of ours listens there, but clients are shown it.
    pub election_port: u16,
    pub role: Role,
    /// Where it serves clients, if the line says so.
    pub clients: Option<Listen>,
}

const FORM: &str = "write it as host:peerPort:electionPort[:role][;[address:]clientPort]";

impl Server {
    /// Reads `server.N=host:peerPort:electionPort[:role][;[address:]clientPort]`.
    pub(super) fn parse(setting: &Setting) -> Result<Self, ConfigError> {
        let id = setting.key.strip_prefix("server.").and_then(ServerId::parse);
        let id = id.ok_or_else(|| setting.refused("the N of server.N is a number from 0 to 255"))?;
        if setting.value.contains('|') {
            return Err(setting.refused("several addresses for one server are not served yet: write one"));
        }
        let (quorum, clients) = match setting.value.split_once(';') {
            Some((quorum, clients)) => (quorum, Some(clients)),
            None => (setting.value.as_str(), None),
        };
        let (host, ports) = split_host(quorum).ok_or_else(|| setting.refused(FORM))?;
        let mut ports = ports.split(':');
        let mut port = || ports.next().and_then(parse_port).ok_or_else(|| setting.refused(FORM));
        let (peer_port, election_port) = (port()?, port()?);
        let role = match ports.next().map(str::to_ascii_lowercase).as_deref() {
            None | Some("participant") => Role::Participant,
            Some("observer") => Role::Observer,
            Some(_) => return Err(setting.refused("the role is participant or observer")),
        };
        if ports.next().is_some() {
            return Err(setting.refused(FORM));
        }
        let clients =
            clients.map(|text| parse_clients(text).ok_or_else(|| setting.refused(FORM))).transpose()?;
        Ok(Self { id, peer: Address { host, port: peer_port }, election_port, role, clients })
    }
}

/// As in ZooKeeper's own dynamic configuration, which clients read from `/zookeeper/config`.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = match self.role {
            Role::Participant => "participant",
            Role::Observer => "observer",
        };
        write!(f, "server.{}={}:{}:{role}", self.id, self.peer, self.election_port)?;
        match &self.clients {
            Some(Listen { host: Some(host), port }) => write!(f, ";{host}:{port}"),
            Some(Listen { host: None, port }) => write!(f, ";0.0.0.0:{port}"),
            None => Ok(()),
        }
    }
}

/// The host in front, and what stands behind its colon. Only in brackets a host may hold colons itself.
fn split_host(text: &str) -> Option<(Host, &str)> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once("]:")?,
        None => text.split_once(':')?,
    };
    Some((Host::parse(host)?, rest))
}

fn parse_clients(text: &str) -> Option<Listen> {
    match parse_port(text) {
        Some(port) => Some(Listen { host: None, port }),
        None => Address::parse(text).map(|address| Listen { host: Some(address.host), port: address.port }),
    }
}
