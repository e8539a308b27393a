//! A bridge, and a network namespace with one leg on it for each member. Clients stand on the bridge itself.
//!
//! A cut is one way: what comes from one address is dropped where it arrives, without a word.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;
use zke_e2e::program::Program;

pub const CLIENT_PORT: u16 = 2181;
pub const HTTP_PORT: u16 = 8080;

/// Where packets come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Member(usize),
    Clients,
}

#[derive(Debug)]
pub struct Network {
    members: usize,
}

impl Network {
    /// In the namespace of this process, which has nothing yet.
    pub fn build(members: usize) -> Result<Network> {
        ip("link add bridge0 type bridge")?;
        ip(&format!("addr add {}/24 dev bridge0", Side::Clients.address()))?;
        ip("link set bridge0 up")?;
        for member in 0..members {
            let (name, address) = (namespace(member), Side::Member(member).address());
            ip(&format!("netns add {name}"))?;
            ip(&format!("link add {name} type veth peer name eth0 netns {name}"))?;
            ip(&format!("link set {name} master bridge0 up"))?;
            ip(&format!("-n {name} link set lo up"))?;
            ip(&format!("-n {name} addr add {address}/24 dev eth0"))?;
            ip(&format!("-n {name} link set eth0 up"))?;
        }
        Ok(Network { members })
    }

    /// A program that runs where a member does.
    pub fn inside(&self, member: usize) -> Program {
        Program::new("nsenter").arg(format!("--net=/run/netns/{}", namespace(member))).arg("--")
    }

    pub fn client_address(&self, member: usize) -> SocketAddr {
        SocketAddr::from((Side::Member(member).address(), CLIENT_PORT))
    }

    pub fn http_address(&self, member: usize) -> SocketAddr {
        SocketAddr::from((Side::Member(member).address(), HTTP_PORT))
    }

    /// Nothing of `from` reaches `to` any more.
    pub fn cut(&self, from: Side, to: usize) -> Result<()> {
        self.filter(to, &format!("-A INPUT -s {} -j DROP", from.address()))
    }

    /// Connections of clients to this member are reset when they send something.
    pub fn reset_clients(&self, member: usize) -> Result<()> {
        let from = Side::Clients.address();
        self.filter(member, &format!("-A INPUT -s {from} -p tcp -j REJECT --reject-with tcp-reset"))
    }

    /// Of what members send to this one, a part is lost. TCP sends it again: so links are slow and uneven.
    pub fn lose(&self, to: usize, probability: f64) -> Result<()> {
        let rule =
            format!("-A INPUT -p tcp -m statistic --mode random --probability {probability:.2} -j DROP");
        self.filter(to, &rule)
    }

    /// Ends all cuts and losses.
    pub fn heal(&self) -> Result<()> {
        (0..self.members).try_for_each(|member| self.heal_member(member))
    }

    pub fn heal_member(&self, member: usize) -> Result<()> {
        self.filter(member, "-F INPUT")
    }

    fn filter(&self, member: usize, rule: &str) -> Result<()> {
        self.inside(member).arg("iptables").arg("--wait").args(rule.split(' ')).run()
    }
}

impl Side {
    /// Of the range for documentation: nothing of it leaves these namespaces.
    pub fn address(self) -> Ipv4Addr {
        match self {
            Side::Member(member) => Ipv4Addr::new(192, 0, 2, u8::try_from(member + 1).unwrap_or(u8::MAX)),
            Side::Clients => Ipv4Addr::new(192, 0, 2, 254),
        }
    }
}

fn namespace(member: usize) -> String {
    format!("m{member}")
}

fn ip(line: &str) -> Result<()> {
    Program::new("ip").args(line.split(' ')).run()
}
