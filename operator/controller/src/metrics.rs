//! What the operator counts.

use prometheus::core::Collector;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};

/// From a quick scaling to an update that waits for a slow volume on each of seven members.
const OPERATION_BUCKETS_S: [f64; 9] = [2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0];

#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    pub reconciles: IntCounter,
    /// By reason.
    pub errors: IntCounterVec,
    /// By operation type and result (`begun`, `finished`, `put_back`).
    pub operations: IntCounterVec,
    /// Of those that finished, by operation type.
    pub operation_seconds: HistogramVec,
    /// By step and result.
    pub steps: IntCounterVec,
    pub reconcile_seconds: Histogram,
    /// By namespace, ensemble and result (`succeeded`, `failed`).
    pub backups: IntCounterVec,
    /// From the start of a backup's Job to its result.
    pub backup_seconds: Histogram,
    /// 1 while this process holds the Lease.
    pub leader: IntGauge,
}

impl Metrics {
    /// # Errors
    /// When two metrics share a name, which is a mistake in this file.
    pub fn new() -> Result<Self, prometheus::Error> {
        let metrics = Self {
            registry: Registry::new(),
            reconciles: IntCounter::new("zke_operator_reconciles_total", "Reconciliations begun")?,
            errors: IntCounterVec::new(
                Opts::new("zke_operator_reconcile_errors_total", "Reconciliations that failed, by reason"),
                &["reason"],
            )?,
            operations: IntCounterVec::new(
                Opts::new("zke_operator_operations_total", "Operations by type and result"),
                &["type", "result"],
            )?,
            operation_seconds: HistogramVec::new(
                HistogramOpts::new(
                    "zke_operator_operation_duration_seconds",
                    "Time from the beginning of an operation to its end",
                )
                .buckets(OPERATION_BUCKETS_S.to_vec()),
                &["type"],
            )?,
            steps: IntCounterVec::new(
                Opts::new("zke_operator_steps_total", "Steps of operations by kind and result"),
                &["step", "result"],
            )?,
            reconcile_seconds: Histogram::with_opts(HistogramOpts::new(
                "zke_operator_reconcile_duration_seconds",
                "Time that one reconciliation took",
            ))?,
            backups: IntCounterVec::new(
                Opts::new("zke_operator_backups_total", "Backups that ended, by result"),
                &["namespace", "ensemble", "result"],
            )?,
            backup_seconds: Histogram::with_opts(
                HistogramOpts::new(
                    "zke_operator_backup_duration_seconds",
                    "Time from the start of a backup's Job to its result",
                )
                .buckets(vec![1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0]),
            )?,
            leader: IntGauge::new("zke_operator_leader", "1 while this process holds the lease and acts")?,
        };
        let registry = &metrics.registry;
        registry.register(Box::new(metrics.reconciles.clone()))?;
        registry.register(Box::new(metrics.errors.clone()))?;
        registry.register(Box::new(metrics.operations.clone()))?;
        registry.register(Box::new(metrics.operation_seconds.clone()))?;
        registry.register(Box::new(metrics.steps.clone()))?;
        registry.register(Box::new(metrics.reconcile_seconds.clone()))?;
        registry.register(Box::new(metrics.backups.clone()))?;
        registry.register(Box::new(metrics.backup_seconds.clone()))?;
        registry.register(Box::new(metrics.leader.clone()))?;
        Ok(metrics)
    }

    /// Adds what is known only once the watches are there.
    ///
    /// # Errors
    /// When another metric has its name.
    pub fn register(&self, collector: impl Collector + 'static) -> Result<(), prometheus::Error> {
        self.registry.register(Box::new(collector))
    }

    /// In Prometheus' text format.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_rendered() {
        let metrics = Metrics::new().unwrap();
        metrics.errors.with_label_values(&["KubernetesRefused"]).inc();
        let text = metrics.render().unwrap();
        assert!(text.contains("zke_operator_reconcile_errors_total{reason=\"KubernetesRefused\"} 1"));
        assert!(text.contains("zke_operator_leader 0"));
    }
}
