//! A whole history, read and put together.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufRead, Read};

use crate::event::{Answer, Event, EventKind, Op, Outcome, Phase, SessionState, Stat};

/// A line holds one operation or one node; ZooKeeper's requests end at 1 MiB, and JSON can swell that sixfold.
const LINE_MAX_BYTES: u64 = 8 << 20;
/// So many lines take some 10 GiB; whoever records more wants several histories.
const LINES_MAX: usize = 20_000_000;

/// Operations, events and marks of all processes.
#[derive(Debug, Default)]
pub struct History {
    pub(crate) operations: Vec<Operation>,
    pub(crate) processes: Vec<Process>,
    pub(crate) faults: Vec<(u64, String, Phase)>,
    pub(crate) members: Vec<Member>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) dump: Option<Dump>,
    sources: usize,
}

#[derive(Debug)]
pub(crate) struct Process {
    pub name: String,
    /// In the order of its lines.
    pub stream: Vec<Item>,
    source: usize,
}

#[derive(Debug)]
pub(crate) enum Item {
    /// Indexes into the operations.
    Invoked(usize),
    Returned(usize),
    Watch(Watch),
    Session(Session),
}

#[derive(Debug)]
pub(crate) struct Watch {
    pub at_us: u64,
    pub kind: EventKind,
    pub path: String,
    /// Above 0, or unknown.
    pub zxid: Option<i64>,
}

#[derive(Debug)]
pub(crate) struct Session {
    pub at_us: u64,
    pub session: i64,
    pub state: SessionState,
    pub timeout_ms: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Operation {
    pub process: usize,
    pub id: u64,
    pub session: i64,
    pub op: Op,
    pub invoked_us: u64,
    /// `None` while, or if, nothing came back.
    pub returned_us: Option<u64>,
    pub zxid: Option<i64>,
    pub outcome: Outcome,
}

#[derive(Debug)]
pub(crate) struct Member {
    pub name: String,
    pub zxid: i64,
    pub index: Option<u64>,
    pub digest: String,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub path: String,
    pub data: Option<std::sync::Arc<str>>,
    pub stat: Stat,
}

#[derive(Debug)]
pub(crate) struct Dump {
    pub at_us: u64,
    pub zxid: i64,
    pub roots: Vec<String>,
}

/// Why a history could not be read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("cannot read line {line} of the history; check the file")]
    Io {
        line: usize,
        #[source]
        source: io::Error,
    },

    #[error(
        "line {line} is not an event of a history; cut it off if its writer was killed, or mend the writer"
    )]
    Damaged {
        line: usize,
        #[source]
        source: serde_json::Error,
    },

    #[error("line {line} is longer than {LINE_MAX_BYTES} bytes; record a hash instead of the data")]
    TooLong { line: usize },

    #[error("line {line}: a history ends at {LINES_MAX} lines; check shorter ones")]
    TooMany { line: usize },

    #[error("line {line} cannot be: {what}; mend the writer of the history")]
    Nonsense { line: usize, what: String },
}

impl History {
    /// All of one file.
    ///
    /// # Errors
    /// Any line that cannot be read or does not fit to the ones before it, with its number.
    pub fn read(reader: impl BufRead) -> Result<History, HistoryError> {
        let mut history = History::default();
        history.append(reader)?;
        Ok(history)
    }

    /// One more file, of other processes with the same clock.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn append(&mut self, mut reader: impl BufRead) -> Result<(), HistoryError> {
        self.sources += 1;
        let mut names: HashMap<String, usize> =
            self.processes.iter().enumerate().map(|(index, process)| (process.name.clone(), index)).collect();
        let mut open = HashMap::new();
        let mut text = Vec::new();
        for line in 1.. {
            text.clear();
            let read = reader.by_ref().take(LINE_MAX_BYTES + 1).read_until(b'\n', &mut text);
            if read.map_err(|source| HistoryError::Io { line, source })? == 0 {
                break;
            }
            if text.len() as u64 > LINE_MAX_BYTES {
                return Err(HistoryError::TooLong { line });
            }
            if line > LINES_MAX {
                return Err(HistoryError::TooMany { line });
            }
            if text.trim_ascii().is_empty() {
                continue;
            }
            let event =
                serde_json::from_slice(&text).map_err(|source| HistoryError::Damaged { line, source })?;
            self.take(event, &mut names, &mut open)
                .map_err(|what| HistoryError::Nonsense { line, what: what.to_owned() })?;
        }
        Ok(())
    }

    /// From events that were never written down; the number of a line is the place of the event, from 1.
    ///
    /// # Errors
    /// [`HistoryError::Nonsense`] for an event that does not fit to the ones before it.
    pub fn of(events: impl IntoIterator<Item = Event>) -> Result<History, HistoryError> {
        let mut history = History { sources: 1, ..History::default() };
        let (mut names, mut open) = (HashMap::new(), HashMap::new());
        for (line, event) in (1..).zip(events) {
            history
                .take(event, &mut names, &mut open)
                .map_err(|what| HistoryError::Nonsense { line, what: what.to_owned() })?;
        }
        Ok(history)
    }

    /// Invocations, whatever came of them.
    pub fn operations(&self) -> usize {
        self.operations.len()
    }

    fn take(
        &mut self,
        event: Event,
        names: &mut HashMap<String, usize>,
        open: &mut HashMap<(usize, u64), usize>,
    ) -> Result<(), &'static str> {
        match event {
            Event::Invoke { at_us, process, id, session, op } => {
                if op.parts().iter().any(|part| matches!(part, Op::Multi { .. })) && op.parts().len() > 1 {
                    return Err("a multi within a multi");
                }
                let process = self.process(process, names)?;
                let index = self.operations.len();
                if open.insert((process, id), index).is_some() {
                    return Err("two invocations with one id");
                }
                self.operations.push(Operation {
                    process,
                    id,
                    session,
                    op,
                    invoked_us: at_us,
                    returned_us: None,
                    zxid: None,
                    outcome: Outcome::Unknown("nothing came back".to_owned()),
                });
                self.processes[process].stream.push(Item::Invoked(index));
            }
            Event::Return { at_us, process, id, zxid, ok, error, unknown } => {
                let process = self.process(process, names)?;
                let &index = open.get(&(process, id)).ok_or("a return without its invocation")?;
                let operation = &mut self.operations[index];
                if operation.returned_us.is_some() {
                    return Err("two returns of one invocation");
                }
                if at_us < operation.invoked_us {
                    return Err("a return before its invocation");
                }
                operation.outcome = match (ok, error, unknown) {
                    (Some(answer), None, None) => Outcome::Ok(answer),
                    (None, Some(refusal), None) => Outcome::Error(refusal),
                    (None, None, Some(reason)) => Outcome::Unknown(reason),
                    _ => return Err("a return needs one of ok, error and unknown"),
                };
                if !operation.answers_fit() {
                    return Err("an answer without one result for each operation of its multi");
                }
                operation.returned_us = Some(at_us);
                operation.zxid = zxid.filter(|&zxid| zxid > 0);
                self.processes[process].stream.push(Item::Returned(index));
            }
            Event::Watch { at_us, process, session: _, kind, path, zxid } => {
                let process = self.process(process, names)?;
                let zxid = zxid.filter(|&zxid| zxid > 0);
                self.processes[process].stream.push(Item::Watch(Watch { at_us, kind, path, zxid }));
            }
            Event::Session { at_us, process, session, state, member: _, timeout_ms } => {
                let process = self.process(process, names)?;
                let item = Session { at_us, session, state, timeout_ms };
                self.processes[process].stream.push(Item::Session(item));
            }
            Event::Fault { at_us, name, phase } => self.faults.push((at_us, name, phase)),
            Event::Member { at_us: _, member, zxid, index, digest } => {
                self.members.push(Member { name: member, zxid, index, digest });
            }
            Event::Node { path, data, stat } => self.nodes.push(Node { path, data, stat }),
            Event::Dump { at_us, zxid, roots, nodes } => {
                if self.dump.is_some() {
                    return Err("a second dump");
                }
                if nodes != self.nodes.len() {
                    return Err("a dump with another number of nodes than stand before it");
                }
                self.dump = Some(Dump { at_us, zxid, roots });
            }
        }
        Ok(())
    }

    fn process(&mut self, name: String, names: &mut HashMap<String, usize>) -> Result<usize, &'static str> {
        if let Some(&index) = names.get(&name) {
            // The order of its lines would be lost.
            let same = self.processes[index].source == self.sources;
            return if same { Ok(index) } else { Err("a process that stands in an earlier file, too") };
        }
        self.processes.push(Process { name: name.clone(), stream: Vec::new(), source: self.sources });
        names.insert(name, self.processes.len() - 1);
        Ok(self.processes.len() - 1)
    }

    /// How messages call an operation.
    pub(crate) fn name(&self, index: usize) -> Name {
        let operation = &self.operations[index];
        let process = &self.processes[operation.process].name;
        let times = match operation.returned_us {
            Some(returned_us) => {
                format!("{} to {} s", seconds(operation.invoked_us), seconds(returned_us))
            }
            None => format!("from {} s", seconds(operation.invoked_us)),
        };
        let zxid = operation.zxid.map_or_else(String::new, |zxid| format!(", zxid {zxid:#x}"));
        let outcome = match &operation.outcome {
            Outcome::Ok(_) => "ok",
            Outcome::Error(refusal) => &refusal.code,
            Outcome::Unknown(_) => "outcome unknown",
        };
        Name(format!("{process} #{} {} ({outcome}, {times}{zxid})", operation.id, describe(&operation.op)))
    }

    /// How messages call a watch event.
    pub(crate) fn name_of_watch(&self, process: usize, watch: &Watch) -> Name {
        let zxid = watch.zxid.map_or_else(String::new, |zxid| format!(", zxid {zxid:#x}"));
        let name = &self.processes[process].name;
        Name(format!("{name} {:?} {} (at {} s{zxid})", watch.kind, watch.path, seconds(watch.at_us)))
    }

    /// A reply or a watch event of a process's stream.
    pub(crate) fn name_of(&self, process: usize, item: &Item) -> Name {
        match item {
            Item::Invoked(index) | Item::Returned(index) => self.name(*index),
            Item::Watch(watch) => self.name_of_watch(process, watch),
            Item::Session(session) => Name(format!(
                "{} {:?} (at {} s)",
                self.processes[process].name,
                session.state,
                seconds(session.at_us)
            )),
        }
    }
}

impl Operation {
    pub fn answer(&self) -> Option<&Answer> {
        match &self.outcome {
            Outcome::Ok(answer) => Some(answer),
            _ => None,
        }
    }

    pub fn is_unknown(&self) -> bool {
        matches!(self.outcome, Outcome::Unknown(_))
    }

    /// Each part of a multi with its answer, or the operation with its own. Nothing unless it succeeded.
    pub fn answered(&self) -> Vec<(&Op, &Answer)> {
        let Some(answer) = self.answer() else { return Vec::new() };
        match (&self.op, &answer.results) {
            (Op::Multi { ops }, Some(results)) => ops.iter().zip(results).collect(),
            (op, _) => vec![(op, answer)],
        }
    }

    fn answers_fit(&self) -> bool {
        match (&self.op, self.answer()) {
            (Op::Multi { ops }, Some(answer)) => {
                answer.results.as_ref().is_some_and(|results| results.len() == ops.len())
            }
            _ => true,
        }
    }
}

/// An operation, in words that a reader of the history finds again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(crate) fn seconds(at_us: u64) -> String {
    format!("{}.{:06}", at_us / 1_000_000, at_us % 1_000_000)
}

fn describe(op: &Op) -> String {
    let versioned = |name: &str, path: &str, version: i32| match version {
        -1 => format!("{name} {path}"),
        version => format!("{name} {path} at version {version}"),
    };
    match op {
        Op::Create { path, .. } => format!("create {path}"),
        Op::Delete { path, version } => versioned("delete", path, *version),
        Op::SetData { path, version, .. } => versioned("setData", path, *version),
        Op::Check { path, version } => versioned("check", path, *version),
        Op::Multi { ops } => {
            let shown: Vec<String> = ops.iter().take(4).map(describe).collect();
            let more = if ops.len() > 4 { format!(", {} more", ops.len() - 4) } else { String::new() };
            format!("multi [{}{more}]", shown.join(", "))
        }
        Op::Exists { path, .. } => format!("exists {path}"),
        Op::GetData { path, .. } => format!("getData {path}"),
        Op::GetChildren { path, .. } => format!("getChildren {path}"),
        Op::Sync { path } => format!("sync {path}"),
        Op::AddWatch { path, .. } => format!("addWatch {path}"),
        Op::RemoveWatches { path } => format!("removeWatches {path}"),
        Op::SetWatches { .. } => "setWatches".to_owned(),
        Op::Close {} => "closeSession".to_owned(),
    }
}
