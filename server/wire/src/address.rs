//! Where something is reached, and where something listens.

use std::fmt;
use std::net::IpAddr;

/// A host name or an IP address. Not resolved here: names may change their address while the server runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(String);

impl Host {
    /// Takes what may stand in a configuration; brackets around an IPv6 address are optional.
    pub fn parse(text: &str) -> Option<Self> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        match bare.unwrap_or(text).parse::<IpAddr>() {
            Ok(ip) => Some(Self(ip.to_string())),
            Err(_) => {
                let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
                (!text.is_empty() && text.chars().all(is_name)).then(|| Self(text.to_owned()))
            }
        }
    }

    /// Whether it can only mean this machine.
    pub fn is_loopback(&self) -> bool {
        self.0.parse::<IpAddr>().map_or(self.0 == "localhost", |ip| ip.is_loopback())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// IPv6 addresses in brackets, as before a port.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(':') { write!(f, "[{}]", self.0) } else { f.write_str(&self.0) }
    }
}

/// One port of one host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    pub host: Host,
    pub port: u16,
}

impl Address {
    /// Takes `host:port`.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        Some(Self { host: Host::parse(host)?, port: parse_port(port)? })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// A port that this server opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// `None` is every address of the machine, IPv4 and IPv6.
    pub host: Option<Host>,
    pub port: u16,
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Some(host) => write!(f, "{host}:{}", self.port),
            None => write!(f, "*:{}", self.port),
        }
    }
}

/// Reads a port, 1 to 65535: ZooKeeper's clients and peers must know where to go.
pub fn parse_port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        for text in ["zk-1.example:2888", "127.0.0.1:2181", "[::1]:2181", "zk_1:1"] {
            assert_eq!(Address::parse(text).expect(text).to_string(), text);
        }
        for text in ["", "zk", ":2181", "zk:0", "zk:65536", "zk:-1", "a b:1", "http://zk:1", "::1]:1"] {
            assert_eq!(Address::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for text in ["localhost", "127.0.0.1", "127.1.2.3", "::1"] {
            assert!(Host::parse(text).expect(text).is_loopback(), "{text}");
        }
        for text in ["0.0.0.0", "10.0.0.1", "zk-1", "localhost.example", "::"] {
            assert!(!Host::parse(text).expect(text).is_loopback(), "{text}");
        }
    }
}
