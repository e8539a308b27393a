//! From single runs to a table that a person reads and JSON that a program does.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::Scenario;
use super::writers::{Seen, Witness, Writer};
use crate::bench::machine::Machine;
use crate::servers::{HEAP, Product};
use crate::zookeeper;

/// One scenario on one server, once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    product: Product,
    scenario: Scenario,
    /// The longest gap of a writer that was connected to a member to which nothing happened.
    staying_ms: f64,
    /// The same of those whose member went: they find another one by themselves.
    moving_ms: f64,
    /// Connections that ended, and answers that are errors, at members to which nothing happened.
    errors_at_others: u32,
    /// Writes that were done, while their connection ended without an answer.
    unanswered: u32,
    sessions_lost: u32,
    /// Reads of what was older than a write that the same session, or the reader that was held, had to see.
    stale: u32,
    first_error: Option<String>,
}

#[derive(Serialize)]
pub struct Report {
    pub machine: Machine,
    pub runs: Vec<Run>,
}

/// Which writers a row is of.
type Clients = (&'static str, fn(&Run) -> f64);
const CLIENTS: [Clients; 2] = [("of others", |run| run.staying_ms), ("its own", |run| run.moving_ms)];

#[derive(Debug, PartialEq)]
struct Spread {
    median: f64,
    p90: f64,
    max: f64,
}

/// The runs of a file that an earlier call has written.
pub fn read(file: &Path) -> Result<Vec<Run>> {
    #[derive(Deserialize)]
    struct Earlier {
        runs: Vec<Run>,
    }
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let earlier: Earlier = serde_json::from_str(&text)
        .with_context(|| format!("find runs in {}: did --json write it?", file.display()))?;
    Ok(earlier.runs)
}

impl Run {
    pub fn new(product: Product, scenario: Scenario, victim: usize, seen: Seen) -> Run {
        let (moving, staying): (Vec<Writer>, Vec<Writer>) =
            seen.writers.into_iter().partition(|writer| writer.home == victim);
        let longest =
            |writers: &[Writer]| writers.iter().map(|writer| writer.longest_gap_ms).fold(0.0, f64::max);
        let all = || staying.iter().chain(&moving);
        let told = |writer: &Writer| writer.first_error.clone();
        Run {
            product,
            scenario,
            staying_ms: longest(&staying),
            moving_ms: longest(&moving),
            errors_at_others: staying.iter().map(|writer| writer.connections_lost + writer.refused).sum(),
            unanswered: all().map(|writer| writer.unanswered).sum(),
            sessions_lost: all().map(|writer| writer.sessions_lost).sum(),
            stale: all().map(|writer| writer.stale).sum::<u32>() + u32::from(seen.witness == Witness::Stale),
            first_error: staying.iter().find_map(told).or_else(|| moving.iter().find_map(told)),
        }
    }

    /// What zkd may never show. A killed or held member cannot answer what it has read.
    fn fault(&self) -> Option<String> {
        let Run { scenario, errors_at_others, unanswered, sessions_lost, stale, .. } = self;
        let planned = *scenario == Scenario::LeaderRestart && errors_at_others + unanswered > 0;
        if *sessions_lost + *stale == 0 && !planned {
            return None;
        }
        Some(format!(
            "{}: {sessions_lost} sessions lost, {stale} stale reads, {errors_at_others} errors at other members, \
             {unanswered} writes done and not answered; {}",
            scenario.told().0,
            self.first_error.as_deref().unwrap_or("no error was told")
        ))
    }
}

impl Report {
    pub fn table(&self) -> String {
        let mut text = self.heading();
        let _ = writeln!(
            text,
            "{:<24} {:<10} {:>26}   {:>26} {:>7}",
            "longest gap, ms", "clients", "ZooKeeper median/p90/max", "zkd median/p90/max", "goal"
        );
        for scenario in self.scenarios() {
            let (name, goal_ms) = scenario.told();
            for (clients, value) in CLIENTS {
                let shown = |product| match spread(self.of(product, scenario).map(value).collect()) {
                    Some(Spread { median, p90, max }) => format!("{median:.0} / {p90:.0} / {max:.0}"),
                    None => "-".to_owned(),
                };
                let (zookeeper, zkd) = (shown(Product::ZooKeeper), shown(Product::Zkd));
                let _ = writeln!(text, "{name:<24} {clients:<10} {zookeeper:>26}   {zkd:>26} {goal_ms:>7}");
            }
        }
        text.push_str(&self.counts());
        text
    }

    fn heading(&self) -> String {
        let Machine { cores, processor, kernel, fdatasyncs_per_s } = &self.machine;
        format!(
            "machine: {cores} cores, {processor}, Linux {kernel}; {fdatasyncs_per_s:.0} fdatasyncs of 4 KiB a second\n\
             three members each; Apache ZooKeeper {} ({HEAP}) and zkd take turns\n\n",
            zookeeper::VERSION
        )
    }

    /// How often which of them showed what, in all runs together.
    fn counts(&self) -> String {
        let mut text = format!(
            "\n{:<24} {:<10} {:>5} {:>17} {:>11} {:>14} {:>6}\n",
            "in all runs", "server", "runs", "errors at others", "unanswered", "sessions lost", "stale"
        );
        for scenario in self.scenarios() {
            for product in [Product::ZooKeeper, Product::Zkd] {
                let runs: Vec<_> = self.of(product, scenario).collect();
                if runs.is_empty() {
                    continue;
                }
                let sum = |count: fn(&Run) -> u32| runs.iter().map(|run| count(run)).sum::<u32>();
                let _ = writeln!(
                    text,
                    "{:<24} {:<10} {:>5} {:>17} {:>11} {:>14} {:>6}",
                    scenario.told().0,
                    product.name(),
                    runs.len(),
                    sum(|run| run.errors_at_others),
                    sum(|run| run.unanswered),
                    sum(|run| run.sessions_lost),
                    sum(|run| run.stale)
                );
            }
        }
        text
    }

    fn scenarios(&self) -> impl Iterator<Item = Scenario> {
        Scenario::ALL.into_iter().filter(|scenario| self.runs.iter().any(|run| run.scenario == *scenario))
    }

    fn of(&self, product: Product, scenario: Scenario) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(move |run| run.product == product && run.scenario == scenario)
    }

    /// Fails if zkd showed what it may never show. What ZooKeeper does is only told.
    pub fn faults(&self) -> Result<()> {
        let faults: Vec<_> =
            self.runs.iter().filter(|run| run.product == Product::Zkd).filter_map(Run::fault).collect();
        if faults.is_empty() {
            return Ok(());
        }
        bail!("zkd showed what it may not:\n{}", faults.join("\n"))
    }
}

/// Of an even number the mean of the two in the middle; of ten, nine are no longer than p90.
fn spread(mut values: Vec<f64>) -> Option<Spread> {
    values.sort_by(f64::total_cmp);
    let (last, count) = (*values.last()?, values.len());
    let median = f64::midpoint(values[count / 2], values[(count - 1) / 2]);
    Some(Spread { median, p90: values[(count * 9).div_ceil(10) - 1], max: last })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(home: usize, longest_gap_ms: f64) -> Writer {
        Writer { home, longest_gap_ms, ..Writer::default() }
    }

    fn run(scenario: Scenario, writers: Vec<Writer>) -> Run {
        Run::new(Product::Zkd, scenario, 1, Seen { writers, witness: Witness::Nothing })
    }

    #[test]
    fn the_longest_gap_of_each_kind_of_writer_counts() {
        let writers = [(0, 3.0), (1, 90.0), (2, 7.0), (0, 5.0), (1, 120.0), (2, 4.0)];
        let run = run(Scenario::LeaderKill, writers.map(|(home, gap)| writer(home, gap)).into());
        assert_eq!((run.staying_ms, run.moving_ms), (7.0, 120.0));
    }

    #[test]
    fn a_spread_is_made_of_runs_that_there_were() {
        let ten = (1..=10).rev().map(f64::from).collect();
        assert_eq!(spread(ten), Some(Spread { median: 5.5, p90: 9.0, max: 10.0 }));
        assert_eq!(spread(vec![4.0]), Some(Spread { median: 4.0, p90: 4.0, max: 4.0 }));
        assert_eq!(spread(vec![]), None);
    }

    #[test]
    fn a_planned_restart_may_end_connections_of_the_restarted_member_alone() {
        let lost = |home| Writer { connections_lost: 1, ..writer(home, 1.0) };
        assert_eq!(run(Scenario::LeaderRestart, vec![lost(1)]).fault(), None);
        assert!(run(Scenario::LeaderRestart, vec![lost(0)]).fault().is_some());
        assert_eq!(run(Scenario::LeaderKill, vec![lost(0)]).fault(), None);
        let unanswered = Writer { unanswered: 1, ..lost(1) };
        assert!(run(Scenario::LeaderRestart, vec![unanswered.clone()]).fault().is_some());
        assert_eq!(run(Scenario::LeaderKill, vec![unanswered]).fault(), None);
    }

    #[test]
    fn a_lost_session_and_a_stale_read_are_never_right() {
        let expired = Writer { sessions_lost: 1, ..writer(1, 1.0) };
        assert!(run(Scenario::LeaderHang, vec![expired]).fault().is_some());
        let seen = Seen { writers: vec![writer(1, 1.0)], witness: Witness::Stale };
        assert!(Run::new(Product::Zkd, Scenario::LeaderHang, 1, seen).fault().is_some());
    }
}
