//! The figures that monitoring reads: one list for `mntr`, the admin command `monitor` and `/metrics`, under
//! ZooKeeper's names.
//!
//! Every figure is counted or measured here. What ZooKeeper has and this server cannot measure, since it has no such
//! part, is left out: docs/monitoring.md says what and why.

use crate::stats::{Amounts, Latency, Stats};
use crate::view::{Mode, ServerView};

/// One figure with ZooKeeper's name for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Without the `zk_` that `mntr` puts in front.
    pub name: &'static str,
    pub help: &'static str,
    pub value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// What Prometheus cannot hold.
    Text(String),
    /// Whole, may be -1 where ZooKeeper says so of nothing.
    Gauge(i64),
    Decimal(f64),
    Counter(u64),
    Summary(Summary),
}

/// Of amounts or of times in ms.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    pub count: u64,
    pub sum: f64,
    pub min: u64,
    pub max: u64,
    /// Of the ways in which ZooKeeper divides them: 0.5, 0.95, 0.99 and 0.999.
    pub quantiles: Option<[f64; 4]>,
}

/// The parts that [`Summary::quantiles`] are of, with the names they have in `mntr`.
pub const QUANTILES: [(f64, &str); 4] = [(0.5, "p50"), (0.95, "p95"), (0.99, "p99"), (0.999, "p999")];

impl Summary {
    pub fn avg(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum / self.count as f64 }
    }

    fn of_amounts(amounts: &Amounts) -> Self {
        let read = amounts.read();
        Self {
            count: read.map_or(0, |read| read.count),
            sum: read.map_or(0, |read| read.sum) as f64,
            min: read.map_or(0, |read| read.min),
            max: read.map_or(0, |read| read.max),
            quantiles: None,
        }
    }

    fn of_latency(latency: &Latency) -> Self {
        let read = latency.summary();
        Self {
            count: read.count,
            sum: read.sum_us as f64 / 1e3,
            min: read.min_ms(),
            max: read.max_ms(),
            quantiles: Some(QUANTILES.map(|(part, _)| latency.quantile_ms(part))),
        }
    }
}

/// All figures of this moment, in the order in which `mntr` shows them.
pub fn all(view: &ServerView, stats: &Stats, version: &str) -> Vec<Figure> {
    let mut figures = Figures(Vec::with_capacity(64));
    figures.server(view, stats, version);
    figures.leader(view);
    figures.counters(stats);
    figures.summaries(stats);
    figures.0
}

struct Figures(Vec<Figure>);

impl Figures {
    fn push(&mut self, name: &'static str, help: &'static str, value: Value) {
        self.0.push(Figure { name, help, value });
    }

    fn gauge(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.push(name, help, Value::Gauge(i64::try_from(value).unwrap_or(i64::MAX)));
    }

    fn server(&mut self, view: &ServerView, stats: &Stats, version: &str) {
        self.push("version", "", Value::Text(version.to_owned()));
        self.push("server_state", "", Value::Text(view.mode.name().to_owned()));
        if let Some(state) = view.mode.peer_state() {
            self.push("peer_state", "", Value::Text(state.to_owned()));
        }
        let avg = (view.latency.avg * 1e4).round() / 1e4;
        self.push("avg_latency", "Mean time from request to answer, in ms", Value::Decimal(avg));
        self.gauge("max_latency", "Most time from request to answer, in ms", view.latency.max);
        self.gauge("min_latency", "Least time from request to answer, in ms", view.latency.min);
        self.gauge("packets_received", "Requests received", view.received);
        self.gauge("packets_sent", "Replies and events sent", view.sent);
        self.gauge("num_alive_connections", "Connections of clients", view.connections);
        self.gauge("outstanding_requests", "Requests read and not answered yet", view.outstanding);
        self.gauge("uptime", "Time since start, in ms", view.uptime_ms);
        self.gauge("znode_count", "Nodes", view.node_count);
        self.gauge("watch_count", "Watches armed here", view.watch_count);
        self.gauge("ephemerals_count", "Ephemeral nodes", view.ephemerals_count);
        self.gauge("approximate_data_size", "Bytes of paths and data", view.approximate_data_size);
        self.gauge("global_sessions", "Sessions of the ensemble", view.global_sessions);
        self.gauge("local_sessions", "Sessions of this server alone: there are none", 0);
        self.gauge("open_file_descriptor_count", "Open files of this process", view.open_files);
        self.gauge("max_file_descriptor_count", "Open files this process may have", view.max_open_files);
        self.gauge("auth_failed_count", "Credentials refused", stats.auth_failures.get());
        let responses = stats.response_bytes.read();
        let size = |bytes: Option<u64>| {
            Value::Gauge(bytes.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)))
        };
        let help = "Bytes of the last reply or event; -1 before the first";
        self.push("last_client_response_size", help, size(responses.map(|read| read.last)));
        let help = "Bytes of the largest reply or event; -1 before the first";
        self.push("max_client_response_size", help, size(responses.map(|read| read.max)));
        let help = "Bytes of the smallest reply or event; -1 before the first";
        self.push("min_client_response_size", help, size(responses.map(|read| read.min)));
        if let Some(quorum_size) = view.quorum_size {
            self.gauge("quorum_size", "Members with a vote", quorum_size);
        }
    }

    fn leader(&mut self, view: &ServerView) {
        let Mode::Leader(leader) = view.mode else { return };
        self.gauge("learners", "Members that follow this leader", leader.learners);
        let help = "Voters that are up to date with this leader";
        self.gauge("synced_followers", help, leader.synced_followers);
        self.gauge("synced_non_voting_followers", "Voters without a vote: there are none", 0);
        let help = "Members without a vote that are up to date";
        self.gauge("synced_observers", help, leader.synced_observers);
        self.gauge("pending_syncs", "Syncs that wait for a barrier", view.pending_syncs);
        self.gauge("leader_uptime", "Time since this member leads, in ms", leader.uptime_ms);
    }

    fn counters(&mut self, stats: &Stats) {
        let counters = [
            ("bytes_received_count", "Bytes received from clients", &stats.bytes_received),
            ("response_bytes", "Bytes sent to clients", &stats.bytes_sent),
            ("watch_bytes", "Bytes of the paths in events", &stats.watch_bytes),
            ("connection_request_count", "Sessions asked for, new and old", &stats.connection_requests),
            ("connection_revalidate_count", "Sessions taken up again", &stats.revalidations),
            ("connection_rejected", "Connections turned away", &stats.connections_rejected),
            ("connection_drop_count", "Connections closed by this server", &stats.connections_dropped),
            ("commit_count", "Commands applied here", &stats.commits),
            ("looking_count", "Elections of another leader", &stats.elections),
        ];
        for (name, help, counter) in counters {
            self.push(name, help, Value::Counter(counter.get()));
        }
    }

    fn summaries(&mut self, stats: &Stats) {
        let amounts = [
            ("node_created_watch_count", "Watches set off by a creation", &stats.created_watches),
            ("node_deleted_watch_count", "Watches set off by a deletion", &stats.deleted_watches),
            ("node_changed_watch_count", "Watches set off by new data", &stats.changed_watches),
            ("node_children_watch_count", "Watches set off by a changed list", &stats.children_watches),
            ("unavailable_time", "Each time without a quorum, in ms", &stats.unavailable_ms),
        ];
        for (name, help, amounts) in amounts {
            self.push(name, help, Value::Summary(Summary::of_amounts(amounts)));
        }
        if let Some(flushes) = stats.flushes.get() {
            let flushes = flushes.read();
            let summary = Summary {
                count: flushes.count,
                sum: flushes.sum_us as f64 / 1e3,
                min: flushes.min_us / 1_000,
                max: flushes.max_us / 1_000,
                quantiles: None,
            };
            self.push("fsynctime", "Time of each flush of the log's disk, in ms", Value::Summary(summary));
        }
        let latencies = [
            ("readlatency", "Time from read request to answer, in ms", &stats.reads),
            ("updatelatency", "Time from write request to answer, in ms", &stats.writes),
        ];
        for (name, help, latency) in latencies {
            self.push(name, help, Value::Summary(Summary::of_latency(latency)));
        }
    }
}
