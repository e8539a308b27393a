//! What the oracles found.

use std::fmt;

use crate::live::Gaps;

/// What is asked of a history beyond what it says itself.
#[derive(Debug, Clone)]
pub struct Options {
    /// The longest time without an acknowledged write that is still right, while writes were asked for.
    pub max_gap_ms: Option<u64>,
    /// How many steps the search for the place of one group of unknown outcomes may take, before it gives up: some
    /// seconds.
    pub search_steps: u64,
    /// How many findings of one oracle are kept; the first ones tell most.
    pub max_findings: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options { max_gap_ms: None, search_steps: 2_000_000, max_findings: 10 }
    }
}

/// Who found it; the names are those of the test plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Oracle {
    Lin,
    Seq,
    Zx,
    Ses,
    Wat,
    Dur,
    Eq,
    Live,
}

impl Oracle {
    pub const ALL: [Oracle; 8] = [
        Oracle::Lin,
        Oracle::Seq,
        Oracle::Zx,
        Oracle::Ses,
        Oracle::Wat,
        Oracle::Dur,
        Oracle::Eq,
        Oracle::Live,
    ];
}

impl fmt::Display for Oracle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Oracle::Lin => "LIN",
            Oracle::Seq => "SEQ",
            Oracle::Zx => "ZX",
            Oracle::Ses => "SES",
            Oracle::Wat => "WAT",
            Oracle::Dur => "DUR",
            Oracle::Eq => "EQ",
            Oracle::Live => "LIVE",
        })
    }
}

/// Something that a right server would not have done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub oracle: Oracle,
    pub message: String,
}

/// Whether a history is one of a right server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Every oracle can explain it.
    Right,
    /// At least one cannot.
    Wrong,
    /// Nothing wrong was found, but the search was given up somewhere.
    Undecided,
}

/// The outcome of [`check`](crate::check).
#[derive(Debug, Clone)]
pub struct Report {
    pub findings: Vec<Finding>,
    /// What was too hard to decide, in words.
    pub too_hard: Vec<String>,
    pub figures: Figures,
}

/// How much there was to look at; a history in which nothing happened proves nothing.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    pub operations: usize,
    pub acknowledged_writes: usize,
    pub unknown_writes: usize,
    pub reads: usize,
    pub watch_events: usize,
    pub gaps: Gaps,
}

impl Report {
    pub fn verdict(&self) -> Verdict {
        match (self.findings.is_empty(), self.too_hard.is_empty()) {
            (false, _) => Verdict::Wrong,
            (true, false) => Verdict::Undecided,
            (true, true) => Verdict::Right,
        }
    }

    /// What one oracle found.
    pub fn of(&self, oracle: Oracle) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| finding.oracle == oracle)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = &self.figures;
        writeln!(
            f,
            "{} operations: {} writes acknowledged, {} of unknown outcome, {} reads; {} watch events",
            figures.operations,
            figures.acknowledged_writes,
            figures.unknown_writes,
            figures.reads,
            figures.watch_events
        )?;
        write!(f, "{}", figures.gaps)?;
        for oracle in Oracle::ALL {
            let mut found = self.of(oracle).peekable();
            if found.peek().is_none() {
                writeln!(f, "{oracle}: nothing wrong")?;
            }
            for finding in found {
                writeln!(f, "{oracle}: {}", finding.message)?;
            }
        }
        for what in &self.too_hard {
            writeln!(f, "too hard: {what}")?;
        }
        write!(f, "verdict: {}", format!("{:?}", self.verdict()).to_lowercase())
    }
}
