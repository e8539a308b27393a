//! ZX: a zxid is one write, the same on every member, and never falls for a session.

use std::collections::HashMap;

use crate::event::{Data, Op, SessionState, Stat, parent};
use crate::history::{History, Item, Name, Operation};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("the zxid went back on one session: {later} came after {earlier}")]
    Fell { earlier: Name, later: Name },
    #[error("two writes have one zxid: {one} and {other}")]
    Shared { one: Name, other: Name },
    #[error("a Stat does not fit the reply that holds it: {name} shows {field} {shown:#x} of {path}")]
    Stat { name: Name, path: String, field: &'static str, shown: i64 },
    #[error("{name} shows {field} {shown:#x} of {path}, but the write of that zxid was {write}")]
    OtherWrite { name: Name, path: String, field: &'static str, shown: i64, write: Name },
    #[error("two clients saw {path} differently at one and the same zxid {zxid:#x}: {one} and {other}")]
    Differs { path: String, zxid: i64, one: Name, other: Name },
}

pub(crate) fn check(history: &History) -> Vec<Fault> {
    let mut faults = Vec::new();
    falls(history, &mut faults);
    let writes = places(history, &mut faults);
    let mut seen = HashMap::new();
    for (index, operation) in history.operations.iter().enumerate() {
        for (op, answer) in operation.answered() {
            let (Some(stat), Some(path)) = (&answer.stat, path_of(op, answer.path.as_deref())) else {
                continue;
            };
            faults.extend(stat_faults(history, index, op, path, stat));
            faults.extend(other_writes(history, &writes, index, path, stat));
            // Within a multi a Stat can show a moment between its operations.
            if !matches!(operation.op, Op::Multi { .. }) {
                let data = match op {
                    Op::Create { data, .. } | Op::SetData { data, .. } => Some(data.clone()),
                    _ => answer.data.clone(),
                };
                faults.extend(differs(history, &mut seen, index, path, stat, data));
            }
        }
    }
    faults
}

/// Of all replies and events of one session, over all its connections, in the order of the bytes.
fn falls(history: &History, faults: &mut Vec<Fault>) {
    for (process, stream) in history.processes.iter().map(|process| &process.stream).enumerate() {
        let mut session = 0;
        let mut largest: Option<(i64, &Item)> = None;
        for item in stream {
            let zxid = match item {
                Item::Session(event) if event.state == SessionState::Connected => {
                    if event.session != session {
                        (session, largest) = (event.session, None);
                    }
                    None
                }
                Item::Returned(index) => {
                    let operation = &history.operations[*index];
                    operation.zxid.filter(|_| !operation.is_unknown())
                }
                Item::Watch(watch) => watch.zxid,
                _ => None,
            };
            let Some(zxid) = zxid else { continue };
            match largest {
                Some((before, earlier)) if zxid < before => faults.push(Fault::Fell {
                    earlier: history.name_of(process, earlier),
                    later: history.name_of(process, item),
                }),
                _ => largest = Some((zxid, item)),
            }
        }
    }
}

/// Every write by its zxid, those that were refused in their turn too: these consume one as well.
fn places(history: &History, faults: &mut Vec<Fault>) -> HashMap<i64, usize> {
    let mut writes = HashMap::new();
    for (index, operation) in history.operations.iter().enumerate().filter(|(_, it)| it.op.is_write()) {
        let refused = || operation.zxid.filter(|_| operation.is_refused_in_turn());
        let Some(zxid) = operation.place().or_else(refused) else { continue };
        let other = *writes.entry(zxid).or_insert(index);
        if other != index {
            faults.push(Fault::Shared { one: history.name(other), other: history.name(index) });
        }
    }
    writes
}

fn stat_faults(history: &History, index: usize, op: &Op, path: &str, stat: &Stat) -> Option<Fault> {
    let operation = &history.operations[index];
    let fault =
        |field, shown| Some(Fault::Stat { name: history.name(index), path: path.to_owned(), field, shown });
    if stat.czxid > stat.mzxid {
        return fault("mzxid", stat.mzxid);
    }
    if stat.czxid > stat.pzxid {
        return fault("pzxid", stat.pzxid);
    }
    let zxid = operation.zxid?;
    for (field, shown) in [("mzxid", stat.mzxid), ("pzxid", stat.pzxid)] {
        if shown > zxid {
            return fault(field, shown);
        }
    }
    match op {
        Op::Create { .. } if stat.czxid != zxid => fault("czxid", stat.czxid),
        Op::Create { .. } if stat.pzxid != zxid => fault("pzxid", stat.pzxid),
        Op::Create { .. } | Op::SetData { .. } if stat.mzxid != zxid => fault("mzxid", stat.mzxid),
        _ => None,
    }
}

/// Of those zxids in a Stat that belong to a write in the history, one that did something else.
fn other_writes(
    history: &History,
    writes: &HashMap<i64, usize>,
    index: usize,
    path: &str,
    stat: &Stat,
) -> Option<Fault> {
    let fields = [("czxid", stat.czxid), ("mzxid", stat.mzxid), ("pzxid", stat.pzxid)];
    fields.into_iter().find_map(|(field, shown)| {
        let write = *writes.get(&shown)?;
        let fits = match &history.operations[write] {
            // What a session owned is for other oracles.
            Operation { op: Op::Close {}, .. } => field == "pzxid",
            operation => operation.answered().into_iter().any(|(op, answer)| match op {
                Op::Create { path: asked, .. } => {
                    let made = answer.path.as_ref().unwrap_or(asked);
                    made == path || field == "pzxid" && parent(made) == Some(path)
                }
                Op::Delete { path: gone, .. } => field == "pzxid" && parent(gone) == Some(path),
                Op::SetData { path: set, .. } => field == "mzxid" && set == path,
                _ => false,
            }),
        };
        (!fits).then(|| Fault::OtherWrite {
            name: history.name(index),
            path: path.to_owned(),
            field,
            shown,
            write: history.name(write),
        })
    })
}

/// Who saw a node first after a change of its data, and what.
type Seen<'a> = HashMap<(&'a str, i64), (usize, i32, i64, i64, Data)>;

fn differs<'a>(
    history: &'a History,
    seen: &mut Seen<'a>,
    index: usize,
    path: &'a str,
    stat: &Stat,
    data: Data,
) -> Option<Fault> {
    let now = (index, stat.version, stat.czxid, stat.ephemeral_owner, data);
    let known = seen.entry((path, stat.mzxid)).or_insert_with(|| now.clone());
    let alike = (known.1, known.2, known.3) == (now.1, now.2, now.3);
    let same_data = match (&known.4, &now.4) {
        (Some(known), Some(now)) => known == now,
        _ => true,
    };
    if known.4.is_none() {
        known.4 = now.4;
    }
    (!alike || !same_data).then(|| Fault::Differs {
        path: path.to_owned(),
        zxid: stat.mzxid,
        one: history.name(known.0),
        other: history.name(index),
    })
}

/// The node that the Stat of an answer is about.
fn path_of<'a>(op: &'a Op, made: Option<&'a str>) -> Option<&'a str> {
    match op {
        Op::Create { path, .. } => Some(made.unwrap_or(path)),
        Op::SetData { path, .. }
        | Op::Exists { path, .. }
        | Op::GetData { path, .. }
        | Op::GetChildren { path, .. } => Some(path),
        _ => None,
    }
}
