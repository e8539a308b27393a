//! From single runs to a table that a person reads and JSON that a program does.

use std::fmt::Write as _;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use super::machine::Machine;
use super::plan::Description;
use super::shape::Shape;
use crate::servers::{HEAP, Product};
use crate::zookeeper;

/// One run of the load generator, in its own words.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Measured {
    ops: u64,
    seconds: f64,
    ops_per_s: f64,
    p50_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    max_ms: f64,
    errors: u64,
    wrong_bodies: u64,
    order_faults: u64,
    first_error: Option<String>,
    server_cpu_us_per_op: f64,
    load_cpu_us_per_op: f64,
    others_cores: f64,
    server_rss_mib: f64,
    server_rss_peak_mib: f64,
}

#[derive(Debug, Serialize)]
pub struct Record {
    pub product: Product,
    pub members: u8,
    pub shape: Shape,
    #[serde(flatten)]
    pub measured: Measured,
}

#[derive(Serialize)]
pub struct Report {
    pub machine: Machine,
    pub plan: Description,
    pub records: Vec<Record>,
}

/// A column of the table: its name, how many places behind the point, and what it shows.
type Column = (&'static str, usize, fn(&Measured) -> f64);
const COLUMNS: [Column; 5] = [
    ("ops/s", 0, |measured| measured.ops_per_s),
    ("p50 ms", 2, |measured| measured.p50_ms),
    ("p99 ms", 2, |measured| measured.p99_ms),
    ("CPU µs/op", 1, |measured| measured.server_cpu_us_per_op),
    ("RSS MiB", 0, |measured| measured.server_rss_mib),
];

impl Report {
    /// Each shape's medians of all rounds. CPU and memory are those of all members together.
    pub fn table(&self) -> String {
        let mut text = self.heading();
        let _ = write!(text, "{:<18} {:>7}", "shape", "members");
        for (name, ..) in COLUMNS {
            let _ = write!(text, "  {name:>10} {:>9}", "zkd");
            if name == "ops/s" {
                let _ = write!(text, " {:>6}", "ratio");
            }
        }
        text.push('\n');
        for (members, shape) in self.rows() {
            let _ = write!(text, "{:<18} {members:>7}", shape.to_string());
            for (name, places, value) in COLUMNS {
                let zookeeper = self.median(Product::ZooKeeper, members, shape, value);
                let zkd = self.median(Product::Zkd, members, shape, value);
                let shown =
                    |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.places$}"));
                let _ = write!(text, "  {:>10} {:>9}", shown(zookeeper), shown(zkd));
                if name == "ops/s" {
                    let ratio = zkd.zip(zookeeper).map(|(zkd, zookeeper)| zkd / zookeeper);
                    let _ =
                        write!(text, " {:>6}", ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}")));
                }
            }
            text.push('\n');
        }
        text
    }

    fn heading(&self) -> String {
        let Machine { cores, processor, kernel, fdatasyncs_per_s } = &self.machine;
        let others = median(self.records.iter().map(|record| record.measured.others_cores));
        let most = self.records.iter().map(|record| record.measured.others_cores).fold(0.0, f64::max);
        format!(
            "machine: {cores} cores, {processor}, Linux {kernel}; {fdatasyncs_per_s:.0} fdatasyncs of 4 KiB a second\n\
             other programs used {:.2} cores in the median run, {most:.2} at most\n\
             left of each pair: Apache ZooKeeper {} ({HEAP}); right: zkd. Medians; CPU and RSS of all members together\n\n",
            others.unwrap_or_default(),
            zookeeper::VERSION,
        )
    }

    /// In the order in which they were measured first.
    fn rows(&self) -> Vec<(u8, Shape)> {
        let mut rows = Vec::new();
        for Record { members, shape, .. } in &self.records {
            if !rows.contains(&(*members, *shape)) {
                rows.push((*members, *shape));
            }
        }
        rows
    }

    fn median(
        &self,
        product: Product,
        members: u8,
        shape: Shape,
        value: fn(&Measured) -> f64,
    ) -> Option<f64> {
        let of_row = |record: &&Record| {
            record.product == product && record.members == members && record.shape == shape
        };
        median(self.records.iter().filter(of_row).map(|record| value(&record.measured)))
    }

    /// Fails if a server answered wrongly or not at all, whatever its speed.
    pub fn faults(&self) -> Result<()> {
        for Record { product, members, shape, measured } in &self.records {
            let Measured { ops, errors, wrong_bodies, order_faults, first_error, .. } = measured;
            if *ops == 0 || *errors + *wrong_bodies + *order_faults > 0 {
                bail!(
                    "{} with {members} members at {shape}: {ops} operations, {errors} errors, {wrong_bodies} wrong \
                     bodies, {order_faults} replies out of order; {}",
                    product.name(),
                    first_error.as_deref().unwrap_or("no error was told")
                );
            }
        }
        Ok(())
    }
}

/// Of an even number the mean of the two in the middle: the lower one would flatter latencies and belittle rates.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Options, plan};

    fn report(records: Vec<Record>) -> Report {
        let machine = Machine {
            cores: 2,
            processor: "a processor".to_owned(),
            kernel: "6.1".to_owned(),
            fdatasyncs_per_s: 9_000.0,
        };
        Report { machine, plan: plan::of(&Options::default()).describe(), records }
    }

    fn record(product: Product, ops_per_s: f64) -> Record {
        let measured =
            Measured { ops: 100, ops_per_s, p99_ms: 1.5, server_cpu_us_per_op: 20.0, ..Measured::default() };
        Record { product, members: 3, shape: "set-100-16x16".parse().unwrap(), measured }
    }

    #[test]
    fn a_row_has_the_medians_of_both_and_their_ratio() {
        let (zookeeper, zkd) = (Product::ZooKeeper, Product::Zkd);
        let rounds = [(zookeeper, 100.0), (zkd, 300.0), (zookeeper, 200.0), (zkd, 100.0), (zookeeper, 120.0)];
        let table = report(rounds.map(|(product, rate)| record(product, rate)).into()).table();
        let row = table.lines().last().unwrap();
        let words: Vec<_> = row.split_whitespace().collect();
        assert_eq!(words[..5], ["set-100-16x16", "3", "120", "200", "1.67"], "{table}");
    }

    #[test]
    fn two_rounds_meet_in_the_middle() {
        assert_eq!(median([300.0, 100.0].into_iter()), Some(200.0));
        assert_eq!(median([].into_iter()), None);
    }

    #[test]
    fn one_server_alone_has_no_ratio() {
        let table = report(vec![record(Product::Zkd, 100.0)]).table();
        let words: Vec<_> = table.lines().last().unwrap().split_whitespace().collect();
        assert_eq!(words[..5], ["set-100-16x16", "3", "-", "100", "-"], "{table}");
    }

    #[test]
    fn wrong_answers_fail_and_slow_ones_do_not() {
        let mut slow = record(Product::Zkd, 1.0);
        assert!(report(vec![record(Product::Zkd, 1.0)]).faults().is_ok());
        slow.measured.order_faults = 1;
        let error = report(vec![slow]).faults().unwrap_err().to_string();
        assert!(error.contains("1 replies out of order"), "{error}");
        let silent =
            Record { measured: Measured { ops: 0, ..Measured::default() }, ..record(Product::Zkd, 0.0) };
        assert!(report(vec![silent]).faults().is_err());
    }
}
