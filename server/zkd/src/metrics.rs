//! `/metrics`: the figures under the names that existing ZooKeeper dashboards and alerts read, and our own as `zkd_*`.
//!
//! Everything is read at the moment of the scrape from what the process counts anyway; nothing is kept twice.

use prometheus::TextEncoder;
use prometheus::core::Collector as _;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType, Summary,
};
use zke_consensus::{MemberStatus, Role, Serving};

use crate::four_letter::{Mode, ServerView};
use crate::stats::{Latency, Stats};

/// The figures in Prometheus' text format.
///
/// # Errors
/// If two of them have one name; a test would have shown it.
pub fn text(view: &ServerView, status: &MemberStatus, stats: &Stats) -> prometheus::Result<String> {
    let mut families = Families(ProcessCollector::for_self().collect());
    families.zookeeper(view, stats);
    families.own(status, stats);
    TextEncoder::new().encode_to_string(&families.0)
}

struct Families(Vec<MetricFamily>);

impl Families {
    /// Names and kinds as ZooKeeper's own Prometheus provider has them, `packets_received` as a gauge included.
    fn zookeeper(&mut self, view: &ServerView, stats: &Stats) {
        self.gauge("avg_latency", "Mean time from request to answer since start, in ms", view.latency.avg);
        self.gauge(
            "min_latency",
            "Least time from request to answer since start, in ms",
            view.latency.min as f64,
        );
        self.gauge(
            "max_latency",
            "Most time from request to answer since start, in ms",
            view.latency.max as f64,
        );
        let connections = view.clients.len() as u64;
        let gauges = [
            ("packets_received", "Requests received since start", view.received),
            ("packets_sent", "Replies and events sent since start", view.sent),
            ("num_alive_connections", "Connections of clients", connections),
            ("outstanding_requests", "Requests read and not answered yet", view.outstanding),
            ("uptime", "Time since start, in ms", view.uptime_ms),
            ("znode_count", "Nodes", view.node_count),
            ("watch_count", "Watches armed here", view.watch_count),
            ("ephemerals_count", "Ephemeral nodes", view.ephemerals_count),
            ("approximate_data_size", "Bytes of paths and data", view.approximate_data_size),
            ("global_sessions", "Sessions of the ensemble", view.global_sessions),
            ("open_file_descriptor_count", "Open files of this process", view.open_files),
            ("max_file_descriptor_count", "Open files this process may have", view.max_open_files),
        ];
        for (name, help, value) in gauges {
            self.gauge(name, help, value as f64);
        }
        if let Some(quorum_size) = view.quorum_size {
            self.gauge("quorum_size", "Members with a vote", quorum_size as f64);
        }
        if let Mode::Leader(leader) = view.mode {
            self.gauge("learners", "Members that follow this leader", leader.learners as f64);
            let synced = leader.synced_followers as f64;
            self.gauge("synced_followers", "Voters that are up to date with this leader", synced);
            let synced = leader.synced_observers as f64;
            self.gauge("synced_observers", "Members without a vote that are up to date", synced);
            self.gauge("leader_uptime", "Time since this member leads, in ms", leader.uptime_ms as f64);
        }
        let counters = [
            ("bytes_received_count", "Bytes received from clients", &stats.bytes_received),
            ("response_bytes", "Bytes sent to clients", &stats.bytes_sent),
            ("connection_request_count", "Sessions asked for, new and old", &stats.connection_requests),
            ("connection_rejected", "Connections turned away", &stats.connections_rejected),
            ("connection_drop_count", "Connections closed by this server", &stats.connections_dropped),
            ("auth_failed_count", "Credentials refused", &stats.auth_failures),
        ];
        for (name, help, counter) in counters {
            self.counter(name, help, counter.get());
        }
        self.summary("readlatency", "Time from read request to answer, in ms", &stats.reads);
        self.summary("updatelatency", "Time from write request to answer, in ms", &stats.writes);
    }

    fn own(&mut self, status: &MemberStatus, stats: &Stats) {
        let gauges = [
            ("zkd_serving", "Whether this member serves clients", u64::from(status.serving == Serving::Yes)),
            ("zkd_voter", "Whether this member votes", u64::from(status.is_voter())),
            ("zkd_raft_term", "Term of Raft", status.term.0),
            ("zkd_raft_has_leader", "Whether a leader is known", u64::from(status.leader.is_some())),
            ("zkd_raft_last_log_index", "Last entry in the log", status.last_log_index.0),
            ("zkd_raft_commit_index", "Last entry known to be committed", status.commit_index.0),
            ("zkd_raft_applied_index", "Last entry applied", status.applied_index.0),
            ("zkd_zxid_epoch", "Upper half of the last zxid", status.last_zxid.epoch().into()),
            ("zkd_zxid_counter", "Lower half of the last zxid", status.last_zxid.counter().into()),
            ("zkd_proposals_outstanding", "Writes from here not applied yet", status.outstanding_proposals),
        ];
        for (name, help, value) in gauges {
            self.gauge(name, help, value as f64);
        }
        let roles = [
            ("leader", Role::Leader),
            ("follower", Role::Follower),
            ("candidate", Role::Candidate),
            ("learner", Role::Learner),
        ];
        let roles = roles.map(|(name, role)| {
            let mut metric = labelled("role", name);
            metric.set_gauge(gauge(if status.role == role { 1.0 } else { 0.0 }));
            metric
        });
        self.push("zkd_raft_role", "1 for the role this member has in Raft", MetricType::GAUGE, roles.into());
        let latencies = [("read", &stats.reads), ("write", &stats.writes)].map(|(name, latency)| {
            let mut metric = labelled("kind", name);
            metric.set_histogram(histogram(latency));
            metric
        });
        let help = "Time from request to answer, in seconds";
        self.push("zkd_request_duration_seconds", help, MetricType::HISTOGRAM, latencies.into());
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.push(name, help, MetricType::GAUGE, vec![Metric::from_gauge(gauge(value))]);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        let mut counter = Counter::default();
        counter.set_value(value as f64);
        let mut metric = Metric::default();
        metric.set_counter(counter);
        self.push(name, help, MetricType::COUNTER, vec![metric]);
    }

    fn summary(&mut self, name: &str, help: &str, latency: &Latency) {
        let latency = latency.summary();
        let mut summary = Summary::default();
        summary.set_sample_count(latency.count);
        summary.set_sample_sum(latency.sum_us as f64 / 1e3);
        let mut metric = Metric::default();
        metric.set_summary(summary);
        self.push(name, help, MetricType::SUMMARY, vec![metric]);
    }

    fn push(&mut self, name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) {
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.0.push(family);
    }
}

fn gauge(value: f64) -> Gauge {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    gauge
}

fn labelled(name: &str, value: &str) -> Metric {
    let mut label = LabelPair::default();
    label.set_name(name.to_owned());
    label.set_value(value.to_owned());
    Metric::from_label(vec![label])
}

fn histogram(latency: &Latency) -> Histogram {
    let buckets = latency.cumulative().map(|(bound_us, count)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound_us as f64 / 1e6);
        bucket.set_cumulative_count(count);
        bucket
    });
    let summary = latency.summary();
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(summary.count);
    histogram.set_sample_sum(summary.sum_us as f64 / 1e6);
    histogram
}
