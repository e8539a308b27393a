//! What happened, for the checker and for whoever reads a finding.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use parking_lot::Mutex;
use zke_check::event::{Event, Phase};

/// The history of one run, which is some minutes long: a million events at most.
pub struct Record {
    start: Instant,
    events: Mutex<Vec<Event>>,
}

impl Record {
    pub fn begin() -> Record {
        Record { start: Instant::now(), events: Mutex::default() }
    }

    /// Microseconds of the monotonic clock since the beginning.
    pub fn now_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    pub fn saw(&self, event: Event) {
        self.events.lock().push(event);
    }

    /// In words, into the story of the run.
    pub fn note(&self, what: &str) {
        eprintln!("{:>9.3} s  {what}", self.start.elapsed().as_secs_f64());
    }

    pub fn fault(&self, name: &str, phase: Phase) {
        self.note(&format!("{phase:?} {name}"));
        self.saw(Event::Fault { at_us: self.now_us(), name: name.to_owned(), phase });
    }

    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.events.lock())
    }
}

/// As `zke-check` reads it.
pub fn write(events: &[Event], file: &Path) -> Result<()> {
    let context = || format!("write the history {}", file.display());
    let mut out = BufWriter::new(File::create(file).with_context(context)?);
    for event in events {
        serde_json::to_writer(&mut out, event).with_context(context)?;
        out.write_all(b"\n").with_context(context)?;
    }
    out.flush().with_context(context)
}
