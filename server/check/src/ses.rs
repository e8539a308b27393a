//! SES: ephemerals live exactly as long as their session, go together, and no session is let go too early.

use std::collections::{HashMap, HashSet};

use crate::changes::{Changes, What};
use crate::event::{EventKind, Op, Outcome, SessionState};
use crate::history::{History, Item, Name, seconds};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("an ephemeral outlived its session: {seen} shows {path}, of session {session:#x}, after {end}")]
    Outlived { seen: Name, path: String, session: i64, end: String },
    #[error("the final dump has {path}, an ephemeral of session {session:#x}, after {end}")]
    InDump { path: String, session: i64, end: String },
    #[error(
        "session {session:#x} did not go at once: {gone} says that it had ended, {there} still shows {path}"
    )]
    Piecemeal { session: i64, gone: Name, there: Name, path: String },
    #[error(
        "session {session:#x} ended too early: heard from at {heard} s, gone by {gone} s, \
         with a timeout of {timeout_ms} ms; seen by {witness}"
    )]
    Early { session: i64, heard: String, gone: String, timeout_ms: u64, witness: Name },
    #[error("a session was served after its end: {served} after {end}")]
    Served { served: Name, end: Name },
}

pub(crate) fn check(history: &History, changes: &Changes) -> Vec<Fault> {
    let mut faults = served(history, changes);
    faults.extend(in_dump(history, changes));
    let owned = owned(history, changes);
    let lives = lives(history, &owned);
    faults.extend(outlived(history, changes));
    let mut sessions: Vec<_> = lives.iter().collect();
    sessions.sort_by_key(|(session, _)| **session);
    for (&session, life) in sessions {
        faults.extend(life.piecemeal(history, session));
    }
    faults.extend(early(history, &lives));
    faults
}

/// What is known of the ephemerals of one session that nobody but its end can have deleted.
#[derive(Default)]
struct Life<'a> {
    /// The smallest zxid at which one of them was not there any more.
    gone: Option<(i64, Witness<'a>)>,
    /// The largest at which one was.
    there: Option<(i64, Witness<'a>, &'a str)>,
    /// When it was first known to have ended, by whom.
    known_us: Option<(u64, Witness<'a>)>,
}

#[derive(Clone, Copy)]
struct Witness<'a> {
    process: usize,
    item: &'a Item,
}

/// Ephemerals that were created once, by an acknowledged write, and that no delete was asked for: path, session, zxid.
fn owned<'a>(history: &'a History, changes: &'a Changes) -> HashMap<&'a str, (i64, i64)> {
    let mut owned: HashMap<&str, (i64, i64)> = HashMap::new();
    let mut spoilt = Vec::new();
    for change in &changes.all {
        if let What::Created { owner, .. } = change.what
            && owned.insert(&change.path, (owner, change.zxid)).is_some()
        {
            spoilt.push(change.path.as_str());
        }
    }
    for operation in &history.operations {
        for op in operation.op.parts() {
            if let Op::Delete { path, .. } = op {
                spoilt.push(path);
            }
        }
    }
    for path in spoilt {
        owned.remove(path);
    }
    owned.retain(|path, (owner, _)| *owner != 0 && !changes.is_open(path));
    owned
}

fn lives<'a>(history: &'a History, owned: &HashMap<&'a str, (i64, i64)>) -> HashMap<i64, Life<'a>> {
    let mut lives: HashMap<i64, Life<'a>> = HashMap::new();
    for (process, item) in items(history) {
        let witness = Witness { process, item };
        match item {
            Item::Watch(watch) if watch.kind == EventKind::NodeDeleted => {
                if let Some(&(session, _)) = owned.get(watch.path.as_str()) {
                    lives.entry(session).or_default().is_gone(watch.zxid, watch.at_us, witness);
                }
            }
            Item::Returned(index) => {
                let operation = &history.operations[*index];
                let (Op::Exists { path, .. } | Op::GetData { path, .. }) = &operation.op else { continue };
                let Some((path, &(session, created))) = owned.get_key_value(path.as_str()) else { continue };
                let (Some(zxid), Some(at_us)) = (operation.zxid, operation.returned_us) else { continue };
                let life = lives.entry(session).or_default();
                match &operation.outcome {
                    Outcome::Ok(_) if life.there.is_none_or(|(largest, ..)| largest < zxid) => {
                        life.there = Some((zxid, witness, path));
                    }
                    Outcome::Error(refusal) if refusal.code == "NoNode" && zxid >= created => {
                        life.is_gone(Some(zxid), at_us, witness);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
    lives
}

impl<'a> Life<'a> {
    fn is_gone(&mut self, zxid: Option<i64>, at_us: u64, witness: Witness<'a>) {
        if self.known_us.is_none_or(|(earliest, _)| at_us < earliest) {
            self.known_us = Some((at_us, witness));
        }
        if let Some(zxid) = zxid.filter(|zxid| self.gone.is_none_or(|(smallest, _)| *zxid < smallest)) {
            self.gone = Some((zxid, witness));
        }
    }

    fn piecemeal(&self, history: &History, session: i64) -> Option<Fault> {
        let ((gone, one), (there, other, path)) = (self.gone?, self.there?);
        (there >= gone).then(|| Fault::Piecemeal {
            session,
            gone: history.name_of(one.process, one.item),
            there: history.name_of(other.process, other.item),
            path: path.to_owned(),
        })
    }
}

/// A session that its client closed, or was told of, and that is seen again.
fn outlived(history: &History, changes: &Changes) -> Vec<Fault> {
    let mut faults = Vec::new();
    // Whoever was told of an end can only say that it was before the writes that began afterwards.
    let mut begun: Vec<(u64, i64)> =
        changes.writes.iter().map(|(&zxid, &index)| (history.operations[index].invoked_us, zxid)).collect();
    begun.sort_unstable();
    for index in (1..begun.len()).rev() {
        begun[index - 1].1 = begun[index - 1].1.min(begun[index].1);
    }
    let bound = |told_us: u64| {
        begun.get(begun.partition_point(|(at_us, _)| *at_us <= told_us)).map(|(_, zxid)| *zxid)
    };
    let bounds: HashMap<i64, i64> = changes
        .ends
        .iter()
        .filter_map(|(session, end)| {
            let closed = end.closed.map(|(zxid, _)| zxid);
            Some((*session, closed.or_else(|| end.told_us.and_then(bound))?))
        })
        .collect();
    for (index, operation) in history.operations.iter().enumerate() {
        let Some(zxid) = operation.zxid else { continue };
        for (op, answer) in operation.answered() {
            let Some(stat) = answer.stat.filter(|stat| stat.ephemeral_owner != 0) else { continue };
            let (Op::Exists { path, .. } | Op::GetData { path, .. } | Op::SetData { path, .. }) = op else {
                continue;
            };
            let session = stat.ephemeral_owner;
            if bounds.get(&session).is_some_and(|end| zxid >= *end) {
                let end = name_of_end(history, changes, session);
                faults.push(Fault::Outlived { seen: history.name(index), path: path.clone(), session, end });
            }
        }
    }
    faults
}

fn in_dump(history: &History, changes: &Changes) -> Vec<Fault> {
    let Some(dump) = &history.dump else { return Vec::new() };
    let ended = |session: &i64| {
        changes.ends.get(session).is_some_and(|end| end.told_us.is_some_and(|told_us| told_us < dump.at_us))
    };
    let late = history.nodes.iter().filter(|node| ended(&node.stat.ephemeral_owner));
    late.map(|node| Fault::InDump {
        path: node.path.clone(),
        session: node.stat.ephemeral_owner,
        end: name_of_end(history, changes, node.stat.ephemeral_owner),
    })
    .collect()
}

/// Replies to a session at or after the zxid of its close.
fn served(history: &History, changes: &Changes) -> Vec<Fault> {
    let late = history.operations.iter().enumerate().filter_map(|(index, operation)| {
        let (end, close) = changes.ends.get(&operation.session)?.closed?;
        let is_late = index != close
            && !operation.is_unknown()
            && operation.zxid? >= end
            && operation.answer().is_some();
        is_late.then(|| Fault::Served { served: history.name(index), end: history.name(close) })
    });
    late.collect()
}

/// No session ends before it was silent for its timeout, unless its client asked.
fn early(history: &History, lives: &HashMap<i64, Life<'_>>) -> Vec<Fault> {
    struct Contact<'a> {
        heard_us: u64,
        /// By when the client has to say something again; whoever is later may be let go at any moment.
        due_us: u64,
        timeout_ms: u64,
        told: Option<(u64, Witness<'a>)>,
    }
    let mut contacts: HashMap<i64, Contact<'_>> = HashMap::new();
    let mut asked_to_end = HashSet::new();
    for (process, item) in items(history) {
        let witness = Witness { process, item };
        match item {
            Item::Session(event) if event.state == SessionState::Connected => {
                let Some(timeout_ms) = event.timeout_ms else { continue };
                let new = Contact { heard_us: 0, due_us: 0, timeout_ms, told: None };
                let contact = contacts.entry(event.session).or_insert(new);
                contact.timeout_ms = timeout_ms;
                contact.due_us =
                    contact.due_us.max(event.at_us.saturating_add(timeout_ms.saturating_mul(1000)));
            }
            Item::Session(event) if event.state == SessionState::Expired => {
                if let Some(contact) = contacts.get_mut(&event.session) {
                    contact.told = Some((event.at_us, witness));
                }
            }
            // The server heard of it no earlier than it was sent.
            Item::Returned(index) if !history.operations[*index].is_unknown() => {
                let operation = &history.operations[*index];
                if let Some(contact) = contacts.get_mut(&operation.session)
                    && operation.invoked_us <= contact.due_us
                {
                    contact.heard_us = contact.heard_us.max(operation.invoked_us);
                    contact.due_us =
                        contact.due_us.max(contact.heard_us + contact.timeout_ms.saturating_mul(1000));
                }
            }
            Item::Invoked(index) if history.operations[*index].op == (Op::Close {}) => {
                asked_to_end.insert(history.operations[*index].session);
            }
            _ => {}
        }
    }
    contacts.retain(|session, contact| contact.heard_us > 0 && !asked_to_end.contains(session));
    let mut contacts: Vec<_> = contacts.into_iter().collect();
    contacts.sort_by_key(|(session, _)| *session);
    let mut faults = Vec::new();
    for (session, contact) in contacts {
        let seen = lives.get(&session).and_then(|life| life.known_us);
        let Some((gone_us, witness)) =
            [contact.told, seen].into_iter().flatten().min_by_key(|(at_us, _)| *at_us)
        else {
            continue;
        };
        if gone_us < contact.heard_us.saturating_add(contact.timeout_ms.saturating_mul(1000)) {
            faults.push(Fault::Early {
                session,
                heard: seconds(contact.heard_us),
                gone: seconds(gone_us),
                timeout_ms: contact.timeout_ms,
                witness: history.name_of(witness.process, witness.item),
            });
        }
    }
    faults
}

fn name_of_end(history: &History, changes: &Changes, session: i64) -> String {
    let end = changes.ends[&session];
    match (end.closed, end.told_us) {
        (Some((_, close)), _) => history.name(close).to_string(),
        (None, Some(told_us)) => format!("its client was told of the end at {} s", seconds(told_us)),
        (None, None) => "its end".to_owned(),
    }
}

fn items(history: &History) -> impl Iterator<Item = (usize, &Item)> {
    let streams = history.processes.iter().enumerate();
    streams.flat_map(|(index, process)| process.stream.iter().map(move |item| (index, item)))
}
