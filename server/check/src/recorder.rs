//! Writes a history, line by line.

use std::io::{self, Write};

use crate::event::{Answer, Event, Op, Refusal};

/// Numbers the invocations of one history. Whoever shares it between threads puts it behind a lock, and holds that while
/// a request is written or an answer is taken off the connection: the lines of a process must stand in that order.
pub struct Recorder<W> {
    writer: W,
    next_id: u64,
}

/// An invocation whose return is to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    process: String,
    id: u64,
}

impl<W: Write> Recorder<W> {
    /// Each line is written at once; a buffer around `writer` is for the caller to flush.
    pub fn new(writer: W) -> Self {
        Recorder { writer, next_id: 1 }
    }

    /// Any event.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn record(&mut self, event: &Event) -> io::Result<()> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        self.writer.write_all(&line)
    }

    /// # Errors
    /// Those of the writer.
    pub fn invoke(&mut self, at_us: u64, process: &str, session: i64, op: Op) -> io::Result<Pending> {
        let pending = Pending { process: process.to_owned(), id: self.next_id };
        self.next_id += 1;
        self.record(&Event::Invoke { at_us, process: pending.process.clone(), id: pending.id, session, op })?;
        Ok(pending)
    }

    /// # Errors
    /// Those of the writer.
    pub fn ok(&mut self, at_us: u64, pending: Pending, zxid: Option<i64>, answer: Answer) -> io::Result<()> {
        self.returned(at_us, pending, zxid, Some(answer), None, None)
    }

    /// # Errors
    /// Those of the writer.
    pub fn error(
        &mut self,
        at_us: u64,
        pending: Pending,
        zxid: Option<i64>,
        refusal: Refusal,
    ) -> io::Result<()> {
        self.returned(at_us, pending, zxid, None, Some(refusal), None)
    }

    /// # Errors
    /// Those of the writer.
    pub fn unknown(&mut self, at_us: u64, pending: Pending, reason: &str) -> io::Result<()> {
        self.returned(at_us, pending, None, None, None, Some(reason.to_owned()))
    }

    pub fn into_inner(self) -> W {
        self.writer
    }

    fn returned(
        &mut self,
        at_us: u64,
        pending: Pending,
        zxid: Option<i64>,
        ok: Option<Answer>,
        error: Option<Refusal>,
        unknown: Option<String>,
    ) -> io::Result<()> {
        let Pending { process, id } = pending;
        self.record(&Event::Return { at_us, process, id, zxid, ok, error, unknown })
    }
}
