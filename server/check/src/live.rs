//! LIVE: how long no write was acknowledged, overall and around each fault.

use std::fmt;

use crate::event::{Op, Phase};
use crate::history::{History, seconds};

/// The longest times without an acknowledged write, between the first and the last of them.
#[derive(Debug, Clone, Default)]
pub struct Gaps {
    /// `None` if fewer than two writes were acknowledged.
    pub overall: Option<Gap>,
    /// For each fault the longest gap that it may have caused: one that ends after it began and begins before it ended,
    /// or before the next one began.
    pub by_fault: Vec<(String, Option<Gap>)>,
}

/// Between two acknowledgements, by whichever clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    pub from_us: u64,
    pub to_us: u64,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("no write was acknowledged for {}, where {max_ms} ms are allowed", .gap)]
    Overall { gap: Gap, max_ms: u64 },
    #[error("after the fault {name:?} no write was acknowledged for {gap}, where {max_ms} ms are allowed")]
    Around { name: String, gap: Gap, max_ms: u64 },
    #[error("fewer than two writes were acknowledged, so nothing says how long the service was away")]
    Nothing,
}

impl Gap {
    pub fn length_us(&self) -> u64 {
        self.to_us - self.from_us
    }
}

pub(crate) fn gaps(history: &History) -> Gaps {
    let acknowledged = history
        .operations
        .iter()
        // A client that ends has asked for nothing for a while.
        .filter(|operation| operation.op.is_write() && operation.op != Op::Close {})
        .filter(|operation| operation.answer().is_some())
        .filter_map(|operation| operation.returned_us);
    let mut times: Vec<u64> = acknowledged.collect();
    times.sort_unstable();
    let gaps: Vec<Gap> = times.windows(2).map(|pair| Gap { from_us: pair[0], to_us: pair[1] }).collect();
    let mut faults: Vec<_> = history.faults.iter().collect();
    faults.sort_by_key(|(at_us, ..)| *at_us);
    let by_fault = faults.iter().enumerate().filter(|(_, (.., phase))| *phase == Phase::Begin);
    let by_fault = by_fault.map(|(index, (begin_us, name, _))| {
        let later = &faults[index + 1..];
        let end = later.iter().find(|(_, other, phase)| *phase == Phase::End && other == name);
        let end = end.or_else(|| later.iter().find(|(.., phase)| *phase == Phase::Begin));
        let end_us = end.map_or(u64::MAX, |(at_us, ..)| *at_us);
        let near = gaps.iter().filter(|gap| gap.to_us > *begin_us && gap.from_us <= end_us);
        (name.clone(), near.copied().max_by_key(Gap::length_us))
    });
    Gaps { by_fault: by_fault.collect(), overall: gaps.iter().copied().max_by_key(Gap::length_us) }
}

pub(crate) fn check(gaps: &Gaps, max_gap_ms: Option<u64>) -> Vec<Fault> {
    let Some(max_ms) = max_gap_ms else { return Vec::new() };
    let Some(overall) = gaps.overall else { return vec![Fault::Nothing] };
    let is_long = |gap: &Gap| gap.length_us() > max_ms.saturating_mul(1000);
    let mut faults: Vec<Fault> = gaps
        .by_fault
        .iter()
        .filter_map(|(name, gap)| Some((name, gap.filter(is_long)?)))
        .map(|(name, gap)| Fault::Around { name: name.clone(), gap, max_ms })
        .collect();
    if faults.is_empty() && is_long(&overall) {
        faults.push(Fault::Overall { gap: overall, max_ms });
    }
    faults
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (seconds(self.from_us), seconds(self.to_us));
        write!(f, "{}.{:03} ms ({from} to {to} s)", self.length_us() / 1000, self.length_us() % 1000)
    }
}

impl fmt::Display for Gaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(gap) = self.overall {
            writeln!(f, "longest gap between acknowledged writes: {gap}")?;
        }
        for (name, gap) in &self.by_fault {
            match gap {
                Some(gap) => writeln!(f, "longest gap at fault {name:?}: {gap}")?,
                None => writeln!(f, "no write was acknowledged after fault {name:?}")?,
            }
        }
        Ok(())
    }
}
