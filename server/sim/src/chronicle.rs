//! Everything that happens in a world, in its order: what clients and members saw, for the checker, and what the harness
//! did, for whoever reads a failure.

use std::fmt;

use openraft_rt_sim::SimInstant;
use parking_lot::Mutex;
use zke_check::event::Event;
use zke_consensus::clock::Instant;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    /// In words, at a virtual time.
    Note { at_us: u64, what: String },
    /// For the checker too.
    Seen(Box<Event>),
}

/// The lines of one world.
pub struct Chronicle {
    start: SimInstant,
    lines: Mutex<Vec<Line>>,
}

impl Chronicle {
    /// Virtual time begins now.
    pub fn begin() -> Chronicle {
        Chronicle { start: SimInstant::now(), lines: Mutex::default() }
    }

    /// Microseconds of virtual time since the beginning.
    pub fn now_us(&self) -> u64 {
        u64::try_from((SimInstant::now() - self.start).as_micros()).unwrap_or(u64::MAX)
    }

    pub fn note(&self, what: impl Into<String>) {
        let line = Line::Note { at_us: self.now_us(), what: what.into() };
        self.lines.lock().push(line);
    }

    pub fn saw(&self, event: Event) {
        self.lines.lock().push(Line::Seen(Box::new(event)));
    }

    pub fn take(&self) -> Vec<Line> {
        std::mem::take(&mut *self.lines.lock())
    }
}

/// What the checker is to judge.
pub fn events(lines: &[Line]) -> impl Iterator<Item = Event> {
    lines.iter().filter_map(|line| match line {
        Line::Seen(event) => Some((**event).clone()),
        Line::Note { .. } => None,
    })
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Line::Note { at_us, what } => write!(f, "{} | {what}", at(*at_us)),
            Line::Seen(event) => show(event, f),
        }
    }
}

fn at(at_us: u64) -> String {
    format!("{:>9.3} ms", at_us as f64 / 1_000.0)
}

fn show(event: &Event, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match event {
        Event::Invoke { at_us, process, id, op, .. } => {
            write!(f, "{} | {process} #{id} asks {op:?}", at(*at_us))
        }
        Event::Return { at_us, process, id, zxid, ok, error, unknown } => {
            let zxid = zxid.unwrap_or_default();
            write!(f, "{} | {process} #{id} at {zxid:#x}: ", at(*at_us))?;
            match (ok, error, unknown) {
                (Some(answer), ..) => write!(f, "{answer:?}"),
                (_, Some(refusal), _) => write!(f, "{refusal:?}"),
                (.., reason) => write!(f, "unknown: {}", reason.as_deref().unwrap_or_default()),
            }
        }
        Event::Watch { at_us, process, kind, path, zxid, .. } => {
            let zxid = zxid.unwrap_or_default();
            write!(f, "{} | {process} hears {kind:?} {path} at {zxid:#x}", at(*at_us))
        }
        Event::Session { at_us, process, session, state, member, .. } => {
            let member = member.as_deref().unwrap_or_default();
            write!(f, "{} | {process} {state:?} {session:#x} {member}", at(*at_us))
        }
        Event::Member { at_us, member, zxid, index, digest } => {
            let index = index.unwrap_or_default();
            write!(f, "{} | {member} applied entry {index}, zxid {zxid:#x}, digest {digest}", at(*at_us))
        }
        event => write!(f, "              | {event:?}"),
    }
}
