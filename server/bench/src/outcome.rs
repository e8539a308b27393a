//! What came of a run.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::processes::CpuSeconds;

/// Longer ones count as this long. Nothing waits longer: the run ends before.
const LATENCY_MAX_US: u64 = 600_000_000;
/// A thousandth is closer than two runs are to each other.
const SIGNIFICANT_DIGITS: u8 = 3;

/// Counted while a run goes on.
pub struct Tally {
    latencies_us: Histogram<u64>,
    pub errors: u64,
    pub wrong_bodies: u64,
    pub order_faults: u64,
    pub first_error: Option<String>,
}

impl Tally {
    pub fn new() -> Tally {
        let latencies_us = Histogram::new_with_max(LATENCY_MAX_US, SIGNIFICANT_DIGITS);
        Tally {
            latencies_us: latencies_us.expect("the bounds are constants"),
            errors: 0,
            wrong_bodies: 0,
            order_faults: 0,
            first_error: None,
        }
    }

    pub fn answered(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(LATENCY_MAX_US);
        self.latencies_us.saturating_record(micros);
    }

    pub fn failed(&mut self, error: impl FnOnce() -> String) {
        self.errors += 1;
        self.first_error.get_or_insert_with(error);
    }
}

/// One line of output.
#[derive(Serialize)]
pub struct Outcome {
    pub ops: u64,
    pub seconds: f64,
    pub ops_per_s: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
    /// Replies with an error, and connections that broke.
    pub errors: u64,
    pub wrong_bodies: u64,
    /// Replies that were not to the next request in line.
    pub order_faults: u64,
    pub first_error: Option<String>,
    /// Of all servers together.
    pub server_cpu_us_per_op: f64,
    pub load_cpu_us_per_op: f64,
    /// Cores that neither the servers nor the load used.
    pub others_cores: f64,
    /// Of all servers together, at the end; and the sum of what each had at most.
    pub server_rss_mib: f64,
    pub server_rss_peak_mib: f64,
}

impl Outcome {
    /// `cpu` is what was used in `cpu_seconds`, which is nearly the measured time.
    pub fn new(
        tally: Tally,
        measured: Duration,
        cpu: CpuSeconds,
        cpu_seconds: f64,
        resident: (f64, f64),
    ) -> Outcome {
        let latencies = &tally.latencies_us;
        let ms = |us: u64| us as f64 / 1_000.0;
        let ops = latencies.len();
        let seconds = measured.as_secs_f64();
        let ops_per_s = ops as f64 / seconds;
        let us_per_op = |used: f64| match ops {
            0 => 0.0,
            _ => used / cpu_seconds * 1_000_000.0 / ops_per_s,
        };
        Outcome {
            ops,
            seconds,
            ops_per_s,
            p50_ms: ms(latencies.value_at_quantile(0.5)),
            p99_ms: ms(latencies.value_at_quantile(0.99)),
            p999_ms: ms(latencies.value_at_quantile(0.999)),
            max_ms: ms(latencies.max()),
            errors: tally.errors,
            wrong_bodies: tally.wrong_bodies,
            order_faults: tally.order_faults,
            first_error: tally.first_error,
            server_cpu_us_per_op: us_per_op(cpu.servers),
            load_cpu_us_per_op: us_per_op(cpu.own),
            others_cores: cpu.others() / cpu_seconds,
            server_rss_mib: resident.0,
            server_rss_peak_mib: resident.1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_cpu_are_per_operation() {
        let mut tally = Tally::new();
        (1..=1_000).for_each(|us| tally.answered(Duration::from_micros(us)));
        let cpu = CpuSeconds { servers: 0.02, own: 0.01, machine: 2.03 };
        let outcome = Outcome::new(tally, Duration::from_secs(2), cpu, 2.0, (1.0, 2.0));
        assert_eq!((outcome.ops, outcome.ops_per_s), (1_000, 500.0));
        assert!((outcome.p50_ms - 0.5).abs() < 0.002 && (outcome.p99_ms - 0.99).abs() < 0.002);
        assert!((outcome.server_cpu_us_per_op - 20.0).abs() < 0.01);
        assert!((outcome.load_cpu_us_per_op - 10.0).abs() < 0.01);
        assert!((outcome.others_cores - 1.0).abs() < 0.01);
    }
}
