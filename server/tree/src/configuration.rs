//! The ensemble as clients see it and change it: the text of `/zookeeper/config`, and what reconfig makes of it.
//!
//! The text is what the ensemble shall be. Whoever drives the consensus makes its membership follow; nothing here knows
//! whether it has. The checks and their order are those of ZooKeeper's `PrepRequestProcessor`.

use std::collections::BTreeMap;
use std::fmt;

use zke_wire::{BadServer, ErrorCode, Role, Server, ServerId, Zxid};

/// Where clients read the ensemble.
pub const CONFIG_PATH: &str = "/zookeeper/config";
/// The version of the node whose text is the ensemble's. As in ZooKeeper, where a reconfig writes it; what a client with
/// the right to do so writes by setData has another one, and is nobody's configuration.
pub(crate) const CONFIG_VERSION: i32 = -1;

/// The servers of an ensemble, at one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    servers: BTreeMap<ServerId, Server>,
    /// The zxid of the change that made it.
    version: Zxid,
}

/// What a reconfig asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconfig {
    /// Lines of servers that join, or change.
    pub joining: Option<String>,
    /// Ids of servers that leave. Ids that are not there leave without an error.
    pub leaving: Option<String>,
    /// Lines of all servers there shall be; then the two above do not count.
    pub new_members: Option<String>,
    /// The version that it expects, or -1 for any.
    pub config_id: i64,
}

impl Configuration {
    /// Of servers that a file names.
    ///
    /// # Errors
    /// As [`Configuration::after`] with new members.
    pub(crate) fn of_lines(lines: &str, version: Zxid) -> Result<Self, ErrorCode> {
        let lines = lines.split(['\n', ',']).map(str::trim).filter(|line| !line.is_empty());
        let mut configuration = Self { servers: BTreeMap::new(), version };
        // It names the version that the sender saw; what is made of the rest has another one.
        for line in lines.filter(|line| !line.starts_with("version=")) {
            let server = parse(line)?;
            configuration.refuse_duplicate(&server)?;
            configuration.servers.insert(server.id, server);
        }
        if configuration.voters().next().is_none() {
            return Err(ErrorCode::BadArguments);
        }
        Ok(configuration)
    }

    /// Of the node's data; `None` for what no change of ours has written.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let (lines, version) = std::str::from_utf8(text).ok()?.rsplit_once("\nversion=")?;
        let version = i64::from_str_radix(version.trim(), 16).ok()?;
        Self::of_lines(lines, Zxid(version)).ok()
    }

    /// By rising id.
    pub fn servers(&self) -> impl Iterator<Item = &Server> {
        self.servers.values()
    }

    pub fn voters(&self) -> impl Iterator<Item = &Server> {
        self.servers().filter(|server| server.role == Role::Participant)
    }

    pub fn version(&self) -> Zxid {
        self.version
    }

    /// The servers' lines without the version.
    pub fn lines(&self) -> String {
        self.servers().map(|server| format!("{server}\n")).collect()
    }

    /// What it becomes by `change` at `version`. `voters_min`: fewer are refused.
    ///
    /// # Errors
    /// `BadVersion` if it is not the one that the change expects; `MarshallingError` if a server's number is none;
    /// `BadArguments` if the change cannot be read otherwise, two servers would share an address, or too few would vote.
    pub fn after(&self, change: &Reconfig, version: Zxid, voters_min: usize) -> Result<Self, ErrorCode> {
        if ![-1, self.version.0].contains(&change.config_id) {
            return Err(ErrorCode::BadVersion);
        }
        let next = match &change.new_members {
            Some(lines) => Self::of_lines(lines, version)?,
            None => self.after_steps(change, version)?,
        };
        if next.voters().count() < voters_min { Err(ErrorCode::BadArguments) } else { Ok(next) }
    }

    fn after_steps(&self, change: &Reconfig, version: Zxid) -> Result<Self, ErrorCode> {
        let mut next = Self { version, ..self.clone() };
        for id in items(change.leaving.as_deref()) {
            next.servers.remove(&ServerId::parse(id).ok_or(ErrorCode::MarshallingError)?);
        }
        for line in items(change.joining.as_deref()) {
            let server = parse(line)?;
            if server.clients.is_none() {
                return Err(ErrorCode::BadArguments);
            }
            next.refuse_duplicate(&server)?;
            next.servers.insert(server.id, server);
        }
        Ok(next)
    }

    /// Two servers at one address would be one process with two votes.
    fn refuse_duplicate(&self, server: &Server) -> Result<(), ErrorCode> {
        let shares = |other: &Server| other.id != server.id && other.peer == server.peer;
        if self.servers().any(shares) { Err(ErrorCode::BadArguments) } else { Ok(()) }
    }
}

/// As ZooKeeper writes it: without an end of line behind the version.
impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}version={:x}", self.lines(), self.version.0)
    }
}

fn parse(line: &str) -> Result<Server, ErrorCode> {
    Server::parse_line(line).map_err(|error| match error {
        // In ZooKeeper nobody catches Java's exception for it.
        BadServer::Id => ErrorCode::MarshallingError,
        BadServer::SeveralAddresses | BadServer::Role | BadServer::Form => ErrorCode::BadArguments,
    })
}

fn items(list: Option<&str>) -> impl Iterator<Item = &str> {
    list.unwrap_or_default().split(',').map(str::trim).filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: &str = "server.1=a:1:2:participant;0.0.0.0:3\nserver.2=b:1:2:participant;0.0.0.0:3\n\
                         server.3=c:1:2:participant;0.0.0.0:3\n";

    fn three() -> Configuration {
        Configuration::of_lines(THREE, Zxid(16)).expect("three servers")
    }

    fn change(joining: &str, leaving: &str, new_members: &str, config_id: i64) -> Reconfig {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Reconfig {
            joining: given(joining),
            leaving: given(leaving),
            new_members: given(new_members),
            config_id,
        }
    }

    fn after(change: &Reconfig) -> Result<String, ErrorCode> {
        let next = three().after(change, Zxid(32), 2)?;
        let read_back = Configuration::parse(next.to_string().as_bytes()).map(|again| again.to_string());
        assert_eq!(read_back, Some(next.to_string()));
        Ok(next
            .servers()
            .map(|server| format!("{}@{}", server.id, server.peer.host))
            .collect::<Vec<_>>()
            .join(" "))
    }

    #[test]
    fn the_text_is_zookeeper_s() {
        assert_eq!(three().to_string(), format!("{THREE}version=10"));
        assert_eq!(Configuration::parse(three().to_string().as_bytes()), Some(three()));
        for text in
            ["", "version=0", "hello", "server.1=a:1:2:participant\n", "server.1=a:1:2:observer\nversion=1"]
        {
            assert_eq!(Configuration::parse(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn servers_join_leave_change_and_are_named_anew() {
        let fourth = "server.4=d:1:2:observer;3";
        assert_eq!(after(&change(fourth, "", "", -1)).as_deref(), Ok("1@a 2@b 3@c 4@d"));
        assert_eq!(after(&change(fourth, "2, 77", "", 16)).as_deref(), Ok("1@a 3@c 4@d"));
        assert_eq!(after(&change("server.3=x:1:2;3", "", "", -1)).as_deref(), Ok("1@a 2@b 3@x"));
        let members = "server.1=a:1:2,server.9=i:1:2\nversion=10";
        assert_eq!(after(&change("", "1", members, -1)).as_deref(), Ok("1@a 9@i"));
    }

    #[test]
    fn what_cannot_be_an_ensemble_is_refused() {
        for (joining, leaving, new_members, why) in [
            ("some thing", "", "", "no line"),
            ("server.4=d:1:2", "", "", "no port for clients"),
            ("server.4=a:1:9;3", "", "", "an address twice"),
            ("", "1,2", "", "one voter left"),
            ("server.1=a:1:2:observer;3,server.2=b:1:2:observer;3", "", "", "one voter left"),
            ("", "", "server.1=a:1:2", "one voter left"),
            ("", "", "server.1=a:1:2,server.2=a:1:3", "an address twice"),
        ] {
            let refused = after(&change(joining, leaving, new_members, -1));
            assert_eq!(refused, Err(ErrorCode::BadArguments), "{why}");
        }
        for (joining, leaving, new_members) in
            [("", "x", ""), ("server.x=d:1:2;3", "", ""), ("", "", "server.x=d:1:2")]
        {
            let refused = after(&change(joining, leaving, new_members, -1));
            assert_eq!(refused, Err(ErrorCode::MarshallingError), "no number");
        }
        assert_eq!(after(&change("", "3", "", 17)), Err(ErrorCode::BadVersion));
    }
}
