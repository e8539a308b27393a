//! Judges a history of what clients of an ensemble saw: could a right server have shown them that?
//!
//! A [`History`] is read from JSON lines ([`event`] says which); [`check`] asks eight oracles about it, each of which
//! looks at the whole history by itself. It promises that a history of a right server is never refused, and names the
//! operations that cannot be explained where one is. It shares no code with the servers that it judges.
//!
//! Never: a clock, a thread, the network. Access control is not modelled: loads use open lists.

pub mod event;

mod changes;
mod dur;
mod eq;
mod history;
mod lin;
mod live;
mod report;
mod seq;
mod ses;
mod wat;
mod zx;

pub use history::{History, HistoryError, Name};
pub use live::{Gap, Gaps};
pub use report::{Figures, Finding, Options, Oracle, Report, Verdict};

use changes::Changes;

/// Asks every oracle.
pub fn check(history: &History, options: &Options) -> Report {
    let changes = Changes::of(history);
    let gaps = live::gaps(history);
    let mut findings = Findings { kept: Vec::new(), of_oracle: 0, max: options.max_findings };
    let lin = lin::check(history, &changes, options);
    findings.add(Oracle::Lin, lin.faults);
    findings.add(Oracle::Seq, seq::check(history, &changes));
    findings.add(Oracle::Zx, zx::check(history));
    findings.add(Oracle::Ses, ses::check(history, &changes));
    findings.add(Oracle::Wat, wat::check(history, &changes));
    findings.add(Oracle::Dur, dur::check(history, &changes));
    findings.add(Oracle::Eq, eq::check(history));
    findings.add(Oracle::Live, live::check(&gaps, options.max_gap_ms));
    let writes = || history.operations.iter().filter(|operation| operation.op.is_write());
    let watch_events = history.processes.iter().flat_map(|process| &process.stream);
    let figures = Figures {
        operations: history.operations.len(),
        acknowledged_writes: writes().filter(|operation| operation.answer().is_some()).count(),
        unknown_writes: writes().filter(|operation| operation.is_unknown()).count(),
        reads: history.operations.iter().filter(|operation| operation.op.is_read()).count(),
        watch_events: watch_events.filter(|item| matches!(item, history::Item::Watch(_))).count(),
        gaps,
    };
    Report { findings: findings.kept, too_hard: lin.too_hard, figures }
}

struct Findings {
    kept: Vec<Finding>,
    of_oracle: usize,
    max: usize,
}

impl Findings {
    fn add<F: std::error::Error>(&mut self, oracle: Oracle, faults: Vec<F>) {
        self.of_oracle = faults.len();
        let kept = faults.iter().take(self.max);
        self.kept.extend(kept.map(|fault| Finding { oracle, message: fault.to_string() }));
        if self.of_oracle > self.max {
            let message = format!("and {} more", self.of_oracle - self.max);
            self.kept.push(Finding { oracle, message });
        }
    }
}
