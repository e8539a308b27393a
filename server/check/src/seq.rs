//! SEQ: a session's requests are answered in order, it never sees an older state than before, and after its `sync` it
//! sees whatever anybody's write had been acknowledged before that.

use std::collections::{HashMap, VecDeque};

use crate::changes::Changes;
use crate::event::{Op, SessionState, Stat};
use crate::history::{History, Item, Name};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("answered out of order: {overtaken} was asked before {answered}, which was answered first")]
    Overtaken { overtaken: Name, answered: Name },
    #[error("{later} shows an older {path} than the same session's {earlier}")]
    Older { path: String, earlier: Name, later: Name },
    #[error("stale after a sync: {read} does not know of {write}, acknowledged before {sync} was asked for")]
    Stale { read: Name, sync: Name, write: Name },
}

pub(crate) fn check(history: &History, changes: &Changes) -> Vec<Fault> {
    let mut faults = Vec::new();
    for process in &history.processes {
        let mut session = Session::default();
        for item in &process.stream {
            match item {
                Item::Invoked(index) => session.asked.push_back(*index),
                Item::Returned(index) => {
                    faults.extend(session.in_turn(history, *index));
                    faults.extend(session.synced(history, changes, *index));
                    faults.extend(session.newer(history, *index));
                }
                Item::Session(event)
                    if event.state == SessionState::Connected && event.session != session.id =>
                {
                    // What was asked stays asked: some clients keep it for the next connection.
                    session = Session { id: event.session, asked: session.asked, ..Session::default() };
                }
                _ => {}
            }
        }
    }
    faults
}

#[derive(Default)]
struct Session<'a> {
    id: i64,
    asked: VecDeque<usize>,
    /// The last Stat of each path, and who saw it.
    seen: HashMap<&'a str, (Stat, usize)>,
    /// What its syncs oblige it to see: sync, zxid, write.
    floor: Option<(usize, i64, usize)>,
}

impl<'a> Session<'a> {
    fn in_turn(&mut self, history: &History, index: usize) -> Option<Fault> {
        if history.operations[index].is_unknown() {
            self.asked.retain(|asked| *asked != index);
            return None;
        }
        while let Some(first) = self.asked.pop_front() {
            if first == index {
                return None;
            }
            if !history.operations[first].is_unknown() {
                self.asked.push_front(first);
                self.asked.retain(|asked| *asked != index);
                let (overtaken, answered) = (history.name(first), history.name(index));
                return Some(Fault::Overtaken { overtaken, answered });
            }
        }
        None
    }

    fn synced(&mut self, history: &History, changes: &Changes, index: usize) -> Option<Fault> {
        let operation = &history.operations[index];
        if operation.is_unknown() {
            return None;
        }
        if let (Op::Sync { .. }, Some(_)) = (&operation.op, operation.answer()) {
            let known = changes.acknowledged_before(operation.invoked_us);
            if let Some((zxid, write)) =
                known.filter(|known| self.floor.is_none_or(|(_, floor, _)| floor < known.0))
            {
                self.floor = Some((index, zxid, write));
            }
        }
        let (sync, floor, write) = self.floor?;
        let zxid = operation.zxid?;
        let names = |index| history.name(index);
        (zxid < floor).then(|| Fault::Stale { read: names(index), sync: names(sync), write: names(write) })
    }

    fn newer(&mut self, history: &'a History, index: usize) -> Option<Fault> {
        let operation = &history.operations[index];
        let (Op::Exists { path, .. }
        | Op::GetData { path, .. }
        | Op::GetChildren { path, .. }
        | Op::SetData { path, .. }) = &operation.op
        else {
            return None;
        };
        let stat = operation.answer()?.stat?;
        let earlier = self.seen.insert(path, (stat, index));
        let (before, earlier) = earlier?;
        let is_older = (stat.czxid, stat.mzxid) < (before.czxid, before.mzxid)
            || stat.czxid == before.czxid && stat.pzxid < before.pzxid;
        is_older.then(|| Fault::Older {
            path: path.clone(),
            earlier: history.name(earlier),
            later: history.name(index),
        })
    }
}
