//! LIN: there is one order of all writes, that of their zxids, which agrees with the clock and explains every result; a
//! read shows the state at the zxid of its reply.
//!
//! Nodes are put together only where something open ties them: an operation of unknown outcome, one whose zxid nobody
//! saw, a multi that failed, a session's end. Everything else is one walk through the history. Groups with something
//! open are searched, with a bound: a search that reaches it says so, and the verdict is "undecided".

mod model;
mod search;
mod steps;

use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};

use crate::changes::Changes;
use crate::event::Op;
use crate::history::{History, Name};
use crate::report::Options;
use model::{Fact, Mismatch, Node, Paths, Place, State, Why};
use search::{Found, Group, nodes_of, try_facts};
use steps::{Floating, Pinned, Steps};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("the order of zxids is not that of the clock: {later} had ended before {earlier} began")]
    Order { earlier: Name, later: Name },
    #[error("{operation} cannot be: {why}")]
    Result { operation: Name, why: String },
}

#[derive(Default)]
pub(crate) struct Outcome {
    pub faults: Vec<Fault>,
    pub too_hard: Vec<String>,
}

pub(crate) fn check(history: &History, changes: &Changes, options: &Options) -> Outcome {
    let mut outcome = Outcome { faults: order(history), ..Outcome::default() };
    let Steps { pinned, floating, mut paths } = Steps::of(history);
    let ties = Ties::new(&paths, &pinned, &floating);
    let open: HashSet<Node> =
        floating.iter().map(|floating| ties.root(floating.step.facts[0].node())).collect();
    let mut groups: BTreeMap<Node, Group<'_>> = BTreeMap::new();
    let bounds = Bounds::of(history);
    for floating in &floating {
        let group = groups.entry(ties.root(floating.step.facts[0].node())).or_default();
        group.bounds.push(bounds.of_floating(floating));
        group.floating.push(floating);
    }
    let mut alone = Vec::with_capacity(pinned.len());
    for pinned in pinned {
        let root = |fact: &Fact| Some(ties.root(fact.node())).filter(|root| open.contains(root));
        for (root, part) in pinned.split(root) {
            match root {
                Some(root) => groups.entry(root).or_default().pinned.push(part),
                None => alone.push(part),
            }
        }
    }
    outcome.faults.extend(walk(history, &alone, State::new(&mut paths, changes.base)));
    for (root, group) in groups {
        let mut state = State::new(&mut paths, changes.base);
        match group.search(&mut state, options.search_steps) {
            Found::Order => {}
            Found::Nothing { by, mismatch } => {
                let why = explain(history, state.paths(), &mismatch);
                outcome.faults.push(Fault::Result { operation: history.name(by), why });
            }
            Found::TooHard => outcome.too_hard.push(format!(
                "the nodes around {} with {} open and {} known operations, within {} steps",
                paths.text(root),
                group.floating.len(),
                group.pinned.len(),
                options.search_steps
            )),
        }
    }
    outcome
}

/// The zxids of writes against the clock.
fn order(history: &History) -> Vec<Fault> {
    let mut writes: Vec<(i64, usize)> = Vec::new();
    for (index, operation) in history.operations.iter().enumerate().filter(|(_, it)| it.op.is_write()) {
        let refused = || operation.zxid.filter(|_| operation.is_refused_in_turn());
        writes.extend(operation.place().or_else(refused).map(|zxid| (zxid, index)));
    }
    writes.sort_unstable();
    let mut latest: Option<(u64, usize)> = None;
    let mut faults = Vec::new();
    for (_, index) in writes {
        let operation = &history.operations[index];
        if let Some((_, earlier)) = latest.filter(|(from_us, _)| operation.returned_us < Some(*from_us)) {
            let (earlier, later) = (history.name(earlier), history.name(index));
            faults.push(Fault::Order { earlier, later });
        }
        latest = latest.max(Some((operation.invoked_us, index)));
    }
    faults
}

/// The steps of nodes that nothing open touches: each fact either holds or does not. A node is reported once.
fn walk(history: &History, steps: &[Pinned], mut state: State<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut wrong: HashSet<Node> = HashSet::new();
    for Pinned { zxid, step, .. } in steps {
        let place = Place::At(*zxid);
        // What was done is known to have been; what was refused only holds as a whole.
        let together = if step.is_undone { step.facts.len() } else { 1 };
        for facts in step.facts.chunks(together) {
            if facts.iter().any(|fact| wrong.contains(&fact.node())) {
                continue;
            }
            if let Err(mismatch) = try_facts(&mut state, facts, step, place) {
                wrong.extend(facts.iter().map(Fact::node));
                let why = explain(history, state.paths(), &mismatch);
                faults.push(Fault::Result { operation: history.name(step.by), why });
            }
            state.keep();
        }
    }
    faults
}

fn explain(history: &History, paths: &Paths, mismatch: &Mismatch) -> String {
    let path = paths.text(mismatch.node);
    let by = mismatch.by.map_or_else(String::new, |by| format!(", by {}", history.name(by)));
    // A session's end has no operation of its own, and goes by the first create of what it owned.
    let ended = mismatch.by.filter(|by| matches!(history.operations[*by].op, Op::Create { .. }));
    match (&mismatch.why, ended) {
        (Why::Absent, Some(by)) => {
            format!("{path} had gone with the session of {}", history.name(by))
        }
        (why, _) => explain_otherwise(why, paths, path, &by, mismatch.by.is_some()),
    }
}

fn explain_otherwise(why: &Why, paths: &Paths, path: &str, by: &str, is_known: bool) -> String {
    match why {
        Why::Absent if is_known => format!("{path} was deleted{by}"),
        Why::Absent => format!("there was no {path}"),
        Why::Present => format!("{path} was there{by}"),
        Why::Version { is, seen } => format!("{path} had version {is}, not {seen}{by}"),
        Why::Data { is, seen } => format!("{path} held {}, not {}{by}", short(is), short(seen)),
        Why::Zxid { field, is: Place::At(is), seen } => {
            format!("{path} had {field} {is:#x}, not {seen:#x}{by}")
        }
        Why::Zxid { field, seen, .. } => format!("the {field} of {path} cannot have been {seen:#x}{by}"),
        Why::Owner { is, seen } => format!("{path} was owned by session {is:#x}, not {seen:#x}{by}"),
        Why::Cversion { is, seen } => format!("{path} had cversion {is}, not {seen}"),
        Why::NumChildren { is, seen } => format!("{path} had {is} children, not {seen}"),
        Why::HasChild(child) => format!("{path} had the child {}", paths.text(*child)),
        Why::LacksChild(child) => format!("{path} had no child {}", paths.text(*child)),
        Why::HasNoChildren => format!("{path} had no children"),
        Why::Number { is, seen } => format!("the next number below {path} was {is}, not {seen}"),
        Why::NotEphemeral => format!("{path} was not ephemeral{by}"),
        Why::NeverWritten { zxid } => format!("nobody wrote {path} at zxid {zxid:#x}"),
    }
}

fn short(data: &str) -> String {
    match data.char_indices().nth(40) {
        Some((cut, _)) => format!("{:?}...", &data[..cut]),
        None => format!("{data:?}"),
    }
}

/// Which nodes have to be looked at together.
struct Ties(Vec<Cell<Node>>);

impl Ties {
    fn new(paths: &Paths, pinned: &[Pinned], floating: &[Floating]) -> Ties {
        let ties = Ties((0..paths.len() as Node).map(Cell::new).collect());
        for floating in floating {
            ties.tie(&nodes_of(&floating.step.facts));
        }
        for Pinned { step, .. } in pinned {
            if step.is_undone {
                ties.tie(&nodes_of(&step.facts));
            }
            for fact in step.facts.iter().filter(|fact| matches!(fact, Fact::EndSession { .. })) {
                ties.tie(&nodes_of(std::slice::from_ref(fact)));
            }
        }
        ties
    }

    fn tie(&self, nodes: &[Node]) {
        for pair in nodes.windows(2) {
            let (one, other) = (self.root(pair[0]), self.root(pair[1]));
            self.0[one as usize].set(other);
        }
    }

    fn root(&self, node: Node) -> Node {
        let mut root = node;
        while self.0[root as usize].get() != root {
            let above = self.0[root as usize].get();
            self.0[root as usize].set(self.0[above as usize].get());
            root = self.0[root as usize].get();
        }
        root
    }
}

/// Between which zxids an operation lies whose own nobody knows.
struct Bounds {
    /// The largest zxid of any reply by then.
    seen: Vec<(u64, i64)>,
    /// The smallest zxid of a write that began then or later.
    begun: Vec<(u64, i64)>,
}

impl Bounds {
    fn of(history: &History) -> Bounds {
        let operations = || history.operations.iter().filter(|operation| !operation.is_unknown());
        let mut seen: Vec<(u64, i64)> =
            operations().filter_map(|operation| Some((operation.returned_us?, operation.zxid?))).collect();
        seen.sort_unstable();
        for index in 1..seen.len() {
            seen[index].1 = seen[index].1.max(seen[index - 1].1);
        }
        let writes = operations().filter(|operation| operation.op.is_write());
        let mut begun: Vec<(u64, i64)> =
            writes.filter_map(|operation| Some((operation.invoked_us, operation.place()?))).collect();
        begun.sort_unstable();
        for index in (1..begun.len()).rev() {
            begun[index - 1].1 = begun[index - 1].1.min(begun[index].1);
        }
        Bounds { seen, begun }
    }

    fn of_floating(&self, floating: &Floating) -> (i64, i64) {
        let before = self.seen.partition_point(|(at_us, _)| *at_us < floating.from_us);
        let above = before.checked_sub(1).map_or(i64::MIN, |last| self.seen[last].1);
        let after = self.begun.partition_point(|(at_us, _)| *at_us <= floating.until_us);
        (above.max(floating.above), self.begun.get(after).map_or(i64::MAX, |(_, zxid)| *zxid))
    }
}
