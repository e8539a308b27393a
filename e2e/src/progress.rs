//! Telling a person which step is running and for how long; and the ledger of what took how long.
//!
//! On a terminal the running step is one line that is rewritten each second. Elsewhere (a pipe, a CI log) a step
//! is a line at its start, one every half minute and one at its end.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

/// How often a log that is not a terminal hears that a long step is still running.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// The steps of one command.
#[derive(Debug)]
pub struct Progress {
    terminal: bool,
    ledger: Mutex<Vec<(String, Duration)>>,
}

/// The step that is running; [`Step::detail`] says how far it is.
#[derive(Clone, Debug)]
pub struct Step {
    name: String,
    started: Instant,
    terminal: bool,
    detail: Arc<Mutex<String>>,
}

impl Default for Progress {
    fn default() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), ledger: Mutex::default() }
    }
}

impl Progress {
    /// Runs one step and shows it. Its error is passed on untouched.
    pub fn step<T>(&self, name: &str, work: impl FnOnce(&Step) -> Result<T>) -> Result<T> {
        let step = Step {
            name: name.to_owned(),
            started: Instant::now(),
            terminal: self.terminal,
            detail: Arc::default(),
        };
        let running = Arc::new(AtomicBool::new(true));
        let ticker = thread::spawn({
            let (step, running) = (step.clone(), Arc::clone(&running));
            move || step.tick(&running)
        });
        step.show("…");
        let outcome = work(&step);
        running.store(false, Ordering::Release);
        ticker.thread().unpark();
        // The ticker only prints; were it to panic, the step's own outcome still stands.
        let _ = ticker.join();
        step.close(if outcome.is_ok() { "✓" } else { "✗" });
        self.enter(&step.name, step.started);
        outcome
    }

    /// Enters work that shows its own progress into the ledger.
    pub fn timed<T>(&self, name: &str, work: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let outcome = work();
        self.enter(name, started);
        outcome
    }

    fn enter(&self, name: &str, started: Instant) {
        let entry = (name.to_owned(), started.elapsed());
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }

    /// A line of its own, between steps.
    pub fn say(&self, line: &str) {
        eprintln!("{line}");
    }

    /// What every step took, in the order in which they ended.
    pub fn ledger(&self) -> Vec<(String, Duration)> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Step {
    /// Says how far this step is. Repeating the same detail prints nothing new.
    pub fn detail(&self, detail: impl Into<String>) {
        let detail = detail.into();
        let mut current = self.detail.lock().unwrap_or_else(PoisonError::into_inner);
        if *current == detail {
            return;
        }
        *current = detail;
        drop(current);
        self.show("…");
    }

    /// Like [`Step::detail`], for what changes so often that only a terminal wants each of them.
    pub fn flicker(&self, detail: &str) {
        if self.terminal {
            self.detail(detail);
        } else {
            detail.clone_into(&mut self.detail.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    fn show(&self, mark: &str) {
        let detail = self.detail.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let colon = if detail.is_empty() { "" } else { ": " };
        let line = format!("{mark} {:>7} {}{colon}{detail}", clock(self.started.elapsed()), self.name);
        let mut out = std::io::stderr().lock();
        // Nobody can be told that standard error is closed.
        let _ = if self.terminal {
            let cut: String = line.chars().take(terminal_columns()).collect();
            write!(out, "\r\x1b[2K{cut}").and_then(|()| out.flush())
        } else {
            writeln!(out, "{line}")
        };
    }

    fn close(&self, mark: &str) {
        self.detail.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.show(mark);
        if self.terminal {
            eprintln!();
        }
    }

    fn tick(&self, running: &AtomicBool) {
        let every = if self.terminal { Duration::from_secs(1) } else { HEARTBEAT };
        let mut next = self.started + every;
        while running.load(Ordering::Acquire) {
            thread::park_timeout(next.saturating_duration_since(Instant::now()));
            if running.load(Ordering::Acquire) && Instant::now() >= next {
                self.show("…");
                next += every;
            }
        }
    }
}

/// A duration as a person says it: `0.4 s`, `12 s`, `5 m 20 s`.
pub fn clock(elapsed: Duration) -> String {
    match elapsed.as_secs() {
        0..10 => format!("{:.1} s", elapsed.as_secs_f64()),
        seconds @ 10..60 => format!("{seconds} s"),
        seconds => format!("{} m {:02} s", seconds / 60, seconds % 60),
    }
}

fn terminal_columns() -> usize {
    match rustix::termios::tcgetwinsize(std::io::stderr()) {
        // Some terminals do not know their size and say zero.
        Ok(size) if size.ws_col >= 20 => usize::from(size.ws_col) - 1,
        _ => 79,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        assert_eq!(clock(Duration::from_millis(440)), "0.4 s");
        assert_eq!(clock(Duration::from_secs(12)), "12 s");
        assert_eq!(clock(Duration::from_secs(320)), "5 m 20 s");
    }

    #[test]
    fn the_ledger_keeps_failed_steps_too() {
        let progress = Progress::default();
        progress.step("first", |_| Ok(())).unwrap();
        progress.step::<()>("second", |_| anyhow::bail!("no")).unwrap_err();
        let names: Vec<_> = progress.ledger().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["first", "second"]);
    }
}
