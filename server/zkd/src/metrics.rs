//! `/metrics`: the figures under the names that existing ZooKeeper dashboards and alerts read, and our own as `zkd_*`.
//!
//! Everything is read at the moment of the scrape from what the process counts anyway; nothing is kept twice.

use prometheus::TextEncoder;
use prometheus::core::Collector as _;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType, Quantile, Summary,
};
use zke_consensus::{MemberStatus, Role, Serving};

use crate::figures::{self, Figure, QUANTILES, Value};
use crate::four_letter;
use crate::stats::{Latency, Stats};
use crate::view::ServerView;

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
        for Figure { name, help, value } in figures::all(view, stats, &four_letter::version()) {
            match value {
                // The version is a name of ours; what a server is doing, Prometheus is told in numbers.
                Value::Text(_) => {}
                Value::Gauge(value) => self.gauge(name, help, value as f64),
                Value::Decimal(value) => self.gauge(name, help, value),
                Value::Counter(value) => self.counter(name, help, value),
                Value::Summary(summary) => self.summary(name, help, &summary),
            }
        }
    }

    fn own(&mut self, status: &MemberStatus, stats: &Stats) {
        let gauges = [
            ("zkd_serving", "Whether this member serves clients", u64::from(status.serving == Serving::Yes)),
            ("zkd_voter", "Whether this member votes", u64::from(status.is_voter())),
            (
                "zkd_voter_sets",
                "Sets of members with a vote: 2 while they change",
                status.voter_sets.len() as u64,
            ),
            ("zkd_raft_term", "Term of Raft", status.term.0),
            ("zkd_raft_has_leader", "Whether a leader is known", u64::from(status.leader.is_some())),
            ("zkd_raft_last_log_index", "Last entry in the log", status.last_log_index.0),
            ("zkd_raft_commit_index", "Last entry known to be committed", status.commit_index.0),
            ("zkd_raft_applied_index", "Last entry applied", status.applied_index.0),
            ("zkd_zxid_epoch", "Upper half of the last zxid", status.last_zxid.epoch().into()),
            ("zkd_zxid_counter", "Lower half of the last zxid", status.last_zxid.counter().into()),
            ("zkd_proposals_outstanding", "Writes from here not applied yet", status.outstanding_proposals),
            ("zkd_apply_level", "Behaviour that the ensemble agreed on", status.apply_level.into()),
            ("zkd_newest_apply_level", "Newest behaviour this program has", status.newest_apply_level.into()),
            (
                "zkd_low_on_space",
                "Whether there is little room on the volumes here",
                status.low_on_space.into(),
            ),
        ];
        for (name, help, value) in gauges {
            self.gauge(name, help, value as f64);
        }
        let counters = [
            ("zkd_quota_refused", "Writes that a hard quota refused", &stats.quota_refused),
            ("zkd_quota_exceeded", "Writes done beyond a limit that is not enforced", &stats.quota_exceeded),
        ];
        for (name, help, counter) in counters {
            self.counter(name, help, counter.get());
        }
        let help = "Writes refused for want of room while this member led";
        self.counter("zkd_growth_refused", help, status.growth_refused);
        let help = "Comparisons of the members' states that did not agree while this member led";
        self.counter("zkd_state_disagreements", help, status.disagreements);
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

    fn summary(&mut self, name: &str, help: &str, read: &figures::Summary) {
        let mut summary = Summary::default();
        summary.set_sample_count(read.count);
        summary.set_sample_sum(read.sum);
        let quantiles = QUANTILES.iter().zip(read.quantiles.iter().flatten()).map(|((part, _), value)| {
            let mut quantile = Quantile::default();
            quantile.set_quantile(*part);
            quantile.set_value(*value);
            quantile
        });
        summary.set_quantile(quantiles.collect());
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
