//! `srvr` and `stat`: what probes and people look at first.

use std::fmt::{self, Write as _};

use super::environment::version;
use crate::view::{ClientView, LatencyMs, Mode, ServerView};

const WRITTEN: &str = "writing to a string cannot fail";

pub fn srvr(view: &ServerView) -> String {
    let mut text = String::new();
    write_version(&mut text, view).and_then(|()| write_server(&mut text, view)).expect(WRITTEN);
    text
}

pub fn stat(view: &ServerView, clients: &[ClientView]) -> String {
    let mut text = String::new();
    write_version(&mut text, view)
        .and_then(|()| write_clients(&mut text, clients))
        .and_then(|()| write_server(&mut text, view))
        .expect(WRITTEN);
    text
}

fn write_version(text: &mut String, view: &ServerView) -> fmt::Result {
    writeln!(text, "Zookeeper version: {}", version())?;
    if view.mode == Mode::ReadOnly {
        writeln!(text, "READ-ONLY mode; serving only read-only clients")?;
    }
    Ok(())
}

fn write_clients(text: &mut String, clients: &[ClientView]) -> fmt::Result {
    writeln!(text, "Clients:")?;
    for ClientView { address, queued, received, sent, .. } in clients {
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
    writeln!(text, "Connections: {}", view.connections)?;
    writeln!(text, "Outstanding: {}", view.outstanding)?;
    writeln!(text, "Zxid: {}", view.zxid)?;
    writeln!(text, "Mode: {}", view.mode.name())?;
    writeln!(text, "Node count: {}", view.node_count)?;
    if let Mode::Leader(_) = view.mode {
        // ZooKeeper's way to say that nothing was measured: proposals here are batches of many requests.
        writeln!(text, "Proposal sizes last/min/max: -1/-1/-1")?;
    }
    Ok(())
}

/// A number as Java shows a double rounded to four places: with one place at least.
pub struct Decimal(pub f64);

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", (self.0 * 1e4).round() / 1e4)
    }
}

#[cfg(test)]
pub mod tests {
    use zke_wire::Zxid;

    use super::*;
    use crate::view::LeaderView;

    pub fn view(mode: Mode) -> ServerView {
        ServerView {
            mode,
            latency: LatencyMs { min: 0, avg: 0.512_36, max: 12 },
            received: 70,
            sent: 71,
            connections: 2,
            outstanding: 2,
            uptime_ms: 5000,
            zxid: Zxid(0x2_0000_0005),
            node_count: 9,
            watch_count: 3,
            ephemerals_count: 1,
            approximate_data_size: 417,
            global_sessions: 4,
            quorum_size: None,
            pending_syncs: 0,
            open_files: 60,
            max_open_files: 1024,
            data_dir_bytes: 100,
            log_dir_bytes: 200,
        }
    }

    pub fn leader() -> Mode {
        Mode::Leader(LeaderView { learners: 2, synced_followers: 1, synced_observers: 0, uptime_ms: 4000 })
    }

    fn version_line() -> String {
        format!("Zookeeper version: 3.9.5-zkd-{}, built on 1970-01-01 00:00 UTC\n", env!("CARGO_PKG_VERSION"))
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
    fn srvr_is_as_in_java() {
        assert_eq!(srvr(&view(Mode::Follower)), version_line() + FOLLOWER);
        let of_leader = FOLLOWER.replace("follower", "leader");
        let expected = format!("{}{of_leader}Proposal sizes last/min/max: -1/-1/-1\n", version_line());
        assert_eq!(srvr(&view(leader())), expected);
        let of_read_only = FOLLOWER.replace("follower", "read-only");
        let notice = "READ-ONLY mode; serving only read-only clients\n";
        assert_eq!(srvr(&view(Mode::ReadOnly)), version_line() + notice + &of_read_only);
    }

    #[test]
    fn a_latency_of_nothing_looks_as_in_java() {
        let mut fresh = view(Mode::Follower);
        fresh.latency = LatencyMs { min: 0, avg: 0.0, max: 0 };
        assert!(srvr(&fresh).contains("Latency min/avg/max: 0/0.0/0\n"));
    }

    #[test]
    fn stat_lists_clients() {
        let client = |address: &str, queued, received, sent| ClientView {
            address: address.parse().expect("an address"),
            encrypted: false,
            queued,
            received,
            sent,
            session: None,
        };
        let clients = [client("127.0.0.1:5000", 1, 8, 7), client("[::1]:5001", 0, 1, 0)];
        let listed = "Clients:
 /127.0.0.1:5000[1](queued=1,recved=8,sent=7)
 /[::1]:5001[1](queued=0,recved=1,sent=0)

";
        assert_eq!(stat(&view(Mode::Follower), &clients), version_line() + listed + FOLLOWER);
    }
}
