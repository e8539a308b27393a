//! A `server.N` line: one server of an ensemble, as files, `/zookeeper/config` and reconfig describe it.

use std::fmt;

use crate::address::{Address, Host, Listen, parse_port};

/// The N of a `server.N` line. A server that keeps it in its `myid` file has one from 0 to 255.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub u64);

impl ServerId {
    pub fn parse(text: &str) -> Option<Self> {
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

/// One server of an ensemble.
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

/// Why a line describes no server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadServer {
    #[error("the N of server.N is a whole number")]
    Id,
    #[error("several addresses for one server are not served yet: write one")]
    SeveralAddresses,
    #[error("the role is participant or observer")]
    Role,
    #[error("write it as host:peerPort:electionPort[:role][;[address:]clientPort]")]
    Form,
}

impl Server {
    /// Reads a whole line, `server.N=host:peerPort:electionPort[:role][;[address:]clientPort]`.
    ///
    /// # Errors
    /// [`BadServer`].
    pub fn parse_line(line: &str) -> Result<Self, BadServer> {
        let (name, description) = line.split_once('=').ok_or(BadServer::Form)?;
        Self::parse(name.trim(), description.trim())
    }

    /// Reads what stands on both sides of the line's `=`.
    ///
    /// # Errors
    /// [`BadServer`].
    pub fn parse(name: &str, description: &str) -> Result<Self, BadServer> {
        let number = name.strip_prefix("server.").ok_or(BadServer::Form)?;
        let id = ServerId::parse(number).ok_or(BadServer::Id)?;
        if description.contains('|') {
            return Err(BadServer::SeveralAddresses);
        }
        let (quorum, clients) = match description.split_once(';') {
            Some((quorum, clients)) => (quorum, Some(clients)),
            None => (description, None),
        };
        let (host, ports) = split_host(quorum).ok_or(BadServer::Form)?;
        let mut ports = ports.split(':');
        let mut port = || ports.next().and_then(parse_port).ok_or(BadServer::Form);
        let (peer_port, election_port) = (port()?, port()?);
        let role = match ports.next().map(str::to_ascii_lowercase).as_deref() {
            None | Some("participant") => Role::Participant,
            Some("observer") => Role::Observer,
            Some(_) => return Err(BadServer::Role),
        };
        if ports.next().is_some() {
            return Err(BadServer::Form);
        }
        let clients = clients.map(|text| parse_clients(text).ok_or(BadServer::Form)).transpose()?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_shown() {
        for line in [
            "server.1=127.0.0.1:2888:3888:participant",
            "server.300=[::1]:2888:3888:observer;0.0.0.0:2181",
            "server.2=zk-2.example:2888:3888:participant;[::1]:2181",
        ] {
            assert_eq!(Server::parse_line(line).expect(line).to_string(), line);
        }
        let short = Server::parse_line("server.1 = zk:1:2;3").expect("the short form");
        assert_eq!(short.to_string(), "server.1=zk:1:2:participant;0.0.0.0:3");
    }

    #[test]
    fn what_is_no_server_is_refused() {
        for (line, why) in [
            ("some thing", BadServer::Form),
            ("server.x=zk:1:2", BadServer::Id),
            ("1=zk:1:2", BadServer::Form),
            ("server.1=zk:1", BadServer::Form),
            ("server.1=zk:1:2:3", BadServer::Role),
            ("server.1=zk:1:2:observer:4", BadServer::Form),
            ("server.1=zk:1:2;a:b:c", BadServer::Form),
            ("server.1=a:1:2|b:1:2", BadServer::SeveralAddresses),
        ] {
            assert_eq!(Server::parse_line(line), Err(why), "{line}");
        }
    }
}
