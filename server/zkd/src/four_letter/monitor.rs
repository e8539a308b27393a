//! `mntr`: every figure on a line of its own.

use std::fmt::{self, Write as _};

use super::environment::version;
use super::summary::Decimal;
use crate::figures::{self, Figure, QUANTILES, Summary, Value};
use crate::stats::Stats;
use crate::view::ServerView;

pub fn mntr(view: &ServerView, stats: &Stats) -> String {
    let mut text = String::new();
    for figure in figures::all(view, stats, &version()) {
        write_figure(&mut text, &figure).expect("writing to a string cannot fail");
    }
    text
}

fn write_figure(text: &mut String, Figure { name, value, .. }: &Figure) -> fmt::Result {
    match value {
        Value::Text(value) => writeln!(text, "zk_{name}\t{value}"),
        Value::Gauge(value) => writeln!(text, "zk_{name}\t{value}"),
        Value::Decimal(value) => writeln!(text, "zk_{name}\t{}", Decimal(*value)),
        Value::Counter(value) => writeln!(text, "zk_{name}\t{value}"),
        Value::Summary(summary) => write_summary(text, name, summary),
    }
}

/// Whole numbers, as ZooKeeper's, but for the average.
fn write_summary(text: &mut String, name: &str, summary: &Summary) -> fmt::Result {
    writeln!(text, "zk_avg_{name}\t{}", Decimal(summary.avg()))?;
    writeln!(text, "zk_min_{name}\t{}", summary.min)?;
    writeln!(text, "zk_max_{name}\t{}", summary.max)?;
    writeln!(text, "zk_cnt_{name}\t{}", summary.count)?;
    writeln!(text, "zk_sum_{name}\t{:.0}", summary.sum)?;
    for ((_, prefix), value) in QUANTILES.iter().zip(summary.quantiles.iter().flatten()) {
        writeln!(text, "zk_{prefix}_{name}\t{value:.0}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::summary::tests::{leader, view};
    use super::*;
    use crate::view::Mode;

    const STANDALONE: &str = "zk_server_state	standalone
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
zk_auth_failed_count	0
zk_last_client_response_size	-1
zk_max_client_response_size	-1
zk_min_client_response_size	-1
zk_bytes_received_count	0
";

    #[test]
    fn mntr_of_a_server_alone() {
        let stats = Stats::default();
        let text = mntr(&view(Mode::Standalone), &stats);
        let (first, rest) = text.split_once('\n').expect("lines");
        assert_eq!(first, format!("zk_version\t{}", version()));
        assert!(rest.starts_with(STANDALONE), "{text}");
        for leaders in ["quorum_size", "peer_state", "learners", "pending_syncs"] {
            assert!(!text.contains(leaders), "{leaders}");
        }
    }

    #[test]
    fn mntr_of_a_leader() {
        let member = ServerView { quorum_size: Some(3), ..view(leader()) };
        let text = mntr(&member, &Stats::default());
        let of_leader = "zk_quorum_size	3
zk_learners	2
zk_synced_followers	1
zk_synced_non_voting_followers	0
zk_synced_observers	0
zk_pending_syncs	0
zk_leader_uptime	4000
";
        assert!(text.contains("zk_server_state\tleader\nzk_peer_state\tleading - broadcast\n"), "{text}");
        assert!(text.contains(of_leader), "{text}");
    }

    #[test]
    fn summaries_have_zookeeper_s_seven_and_nine_lines() {
        let stats = Stats::default();
        stats.writes.record(Duration::from_millis(4));
        stats.created_watches.record(2);
        stats.created_watches.record(3);
        let text = mntr(&view(Mode::Follower), &stats);
        let of = |name: &str| -> String {
            text.lines().filter(|line| line.contains(name)).map(|line| format!("{line}\n")).collect()
        };
        let expected = "zk_avg_updatelatency	4.0
zk_min_updatelatency	4
zk_max_updatelatency	4
zk_cnt_updatelatency	1
zk_sum_updatelatency	4
zk_p50_updatelatency	3
zk_p95_updatelatency	4
zk_p99_updatelatency	4
zk_p999_updatelatency	4
";
        assert_eq!(of("updatelatency"), expected);
        let expected = "zk_avg_node_created_watch_count	2.5
zk_min_node_created_watch_count	2
zk_max_node_created_watch_count	3
zk_cnt_node_created_watch_count	2
zk_sum_node_created_watch_count	5
";
        assert_eq!(of("node_created_watch_count"), expected);
    }
}
