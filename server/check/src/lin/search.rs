//! Finds an order for one group of nodes whose changes are not all known: a search in the manner of Wing and Gong, with
//! Lowe's memory of where it has been.
//!
//! What is pinned keeps its order, so only the floating steps have to be placed. One is tried only where it matters: in
//! front of a step that it does not commute with. Elsewhere it could as well stand later.

use std::collections::HashSet;

use super::model::{Fact, Mismatch, Node, Place, State};
use super::steps::{Floating, Pinned, Step};

/// How one group came out.
pub(super) enum Found {
    Order,
    /// The furthest that any order came, and what could not be there.
    Nothing {
        by: usize,
        mismatch: Mismatch,
    },
    /// Given up after so many steps.
    TooHard,
}

#[derive(Default)]
pub(super) struct Group<'a> {
    pub pinned: Vec<Pinned>,
    pub floating: Vec<&'a Floating>,
    /// For each floating step the zxids that it must stand above, and below.
    pub bounds: Vec<(i64, i64)>,
}

/// One place where there is a choice.
struct Choice {
    position: usize,
    mark: usize,
    /// Which floating step was placed to get here.
    placed: Option<usize>,
    /// To be tried, last first.
    left: Vec<Option<usize>>,
}

struct Search<'a, 'p, 's> {
    group: &'a Group<'a>,
    state: &'s mut State<'p>,
    /// For each pinned step the floating ones that it does not commute with.
    opponents: Vec<Vec<usize>>,
    /// Floating steps that each one does not commute with.
    neighbours: Vec<Vec<usize>>,
    nodes: Vec<Node>,
    used: Vec<bool>,
    been: HashSet<(usize, Vec<bool>, u64)>,
    steps_left: u64,
    furthest: Option<(usize, usize, Mismatch)>,
}

impl Group<'_> {
    pub fn search(&self, state: &mut State<'_>, max_steps: u64) -> Found {
        let footprints: Vec<Footprint> =
            self.floating.iter().map(|floating| Footprint::of(&floating.step.facts)).collect();
        let conflicting = |one: &Footprint| {
            (0..footprints.len()).filter(|other| one.conflicts(&footprints[*other])).collect::<Vec<usize>>()
        };
        let neighbours = footprints.iter().map(conflicting).collect();
        let opponents = self.pinned.iter().map(|it| conflicting(&Footprint::of(&it.step.facts))).collect();
        let mut nodes: Vec<Node> =
            footprints.iter().flat_map(|footprint| footprint.0.iter().map(|touch| touch.node)).collect();
        nodes.sort_unstable();
        nodes.dedup();
        let used = vec![false; self.floating.len()];
        let mut search = Search {
            group: self,
            state,
            opponents,
            neighbours,
            nodes,
            used,
            been: HashSet::new(),
            steps_left: max_steps,
            furthest: None,
        };
        search.run()
    }
}

impl Search<'_, '_, '_> {
    fn run(&mut self) -> Found {
        let mut choices: Vec<Choice> = Vec::new();
        let mut position = 0;
        loop {
            // Forward as long as there is nothing to choose.
            loop {
                let candidates = self.candidates(position);
                if position == self.group.pinned.len() && self.is_done() {
                    return Found::Order;
                }
                if candidates.is_empty() {
                    if !self.pass(position) {
                        break;
                    }
                    position += 1;
                    continue;
                }
                let hash = self.state.hash(&self.nodes);
                if !self.been.insert((position, self.used.clone(), hash)) {
                    break;
                }
                let mark = self.state.mark();
                let mut left: Vec<Option<usize>> = candidates.into_iter().rev().map(Some).collect();
                if self.may_pass(position) {
                    left.push(None);
                }
                choices.push(Choice { position, mark, placed: None, left });
                break;
            }
            // The next alternative of the last choice that has one.
            loop {
                if self.steps_left == 0 {
                    return Found::TooHard;
                }
                let Some(choice) = choices.last_mut() else { return self.nothing() };
                self.state.back_to(choice.mark);
                if let Some(placed) = choice.placed.take() {
                    self.used[placed] = false;
                }
                let Some(alternative) = choice.left.pop() else {
                    choices.pop();
                    continue;
                };
                let at = choice.position;
                match alternative {
                    None if self.pass(at) => {
                        position = at + 1;
                        break;
                    }
                    Some(floating) if self.place(at, floating) => {
                        if let Some(choice) = choices.last_mut() {
                            choice.placed = Some(floating);
                        }
                        position = at;
                        break;
                    }
                    _ => {}
                }
            }
        }
    }

    fn nothing(&mut self) -> Found {
        match self.furthest.take() {
            Some((_, by, mismatch)) => Found::Nothing { by, mismatch },
            // Only certain steps without a place are left, and they exclude each other by their times.
            None => Found::TooHard,
        }
    }

    fn is_done(&self) -> bool {
        let mut left = self.group.floating.iter().zip(&self.used);
        left.all(|(floating, used)| *used || !floating.is_certain)
    }

    /// Floating steps that could stand here and for which it makes a difference.
    fn candidates(&self, position: usize) -> Vec<usize> {
        let zxid = self.group.pinned.get(position).map_or(i64::MAX, |pinned| pinned.zxid);
        let is_due =
            |index: &usize| self.group.floating[*index].is_certain && self.group.bounds[*index].1 <= zxid;
        let opponents = self.opponents.get(position).into_iter().flatten().copied();
        let mut found: Vec<usize> = opponents.filter(|index| !self.used[*index]).collect();
        found.extend((0..self.used.len()).filter(|index| !self.used[*index] && is_due(index)));
        // What matters to one that matters does, too.
        let mut next = 0;
        while let Some(&index) = found.get(next) {
            for &neighbour in &self.neighbours[index] {
                if !self.used[neighbour] && !found.contains(&neighbour) {
                    found.push(neighbour);
                }
            }
            next += 1;
        }
        found.retain(|index| self.group.bounds[*index].0 < zxid && !self.waits_for_another(*index));
        found
    }

    /// Of two certain ones, one may have ended before the other began.
    fn waits_for_another(&self, index: usize) -> bool {
        let from_us = self.group.floating[index].from_us;
        let mut others = self.group.floating.iter().zip(&self.used);
        others.any(|(other, used)| !used && other.is_certain && other.until_us < from_us)
    }

    /// Whether no certain floating step has to stand before the next pinned one.
    fn may_pass(&self, position: usize) -> bool {
        let Some(next) = self.group.pinned.get(position) else { return false };
        let mut left = self.group.floating.iter().zip(&self.used).zip(&self.group.bounds);
        left.all(|((floating, used), (_, below))| *used || !floating.is_certain || next.zxid < *below)
    }

    fn pass(&mut self, position: usize) -> bool {
        if !self.may_pass(position) {
            return false;
        }
        let pinned = &self.group.pinned[position];
        self.try_step(position, &pinned.step, Place::At(pinned.zxid))
    }

    fn place(&mut self, position: usize, index: usize) -> bool {
        let floating = self.group.floating[index];
        // A read shows the write of its own zxid.
        let below = |pinned: &Pinned| if pinned.is_write { pinned.zxid } else { pinned.zxid + 1 };
        let below = self.group.pinned.get(position).map_or(i64::MAX, below);
        let (above, _) = self.group.bounds[index];
        let placed = self.try_step(position, &floating.step, Place::Open(above, below));
        self.used[index] = placed;
        placed
    }

    fn try_step(&mut self, position: usize, step: &Step, place: Place) -> bool {
        self.steps_left = self.steps_left.saturating_sub(1);
        match try_facts(self.state, &step.facts, step, place) {
            Ok(()) => true,
            Err(mismatch) => {
                if self.furthest.as_ref().is_none_or(|(furthest, ..)| *furthest < position) {
                    self.furthest = Some((position, step.by, mismatch));
                }
                false
            }
        }
    }
}

/// Does a step, or some facts of one, or says which fact cannot be and leaves the state as it was.
pub(super) fn try_facts(
    state: &mut State<'_>,
    facts: &[Fact],
    step: &Step,
    place: Place,
) -> Result<(), Mismatch> {
    let mark = state.mark();
    let tried = facts.iter().try_for_each(|fact| state.apply(fact, step.by, place));
    // A refusal alone is a look at what is there; what is learned by it stays.
    if tried.is_err() || step.is_undone && facts.len() > 1 {
        state.back_to(mark);
    }
    tried
}

const EXISTENCE: u8 = 1;
const CONTENT: u8 = 2;
const CHILDREN: u8 = 4;
const ALL: u8 = EXISTENCE | CONTENT | CHILDREN;

/// What a step reads and changes of a node.
#[derive(Debug, Clone, Copy)]
struct Touch {
    node: Node,
    reads: u8,
    writes: u8,
    /// Changes that commute with their like.
    counts: u8,
}

#[derive(Debug)]
struct Footprint(Vec<Touch>);

impl Footprint {
    fn of(facts: &[Fact]) -> Footprint {
        let mut touches = Vec::with_capacity(facts.len());
        let mut touch = |node, reads, writes, counts| touches.push(Touch { node, reads, writes, counts });
        let content = |version: i32| if version == -1 { 0 } else { CONTENT };
        for fact in facts {
            match fact {
                Fact::Create { node, .. } => touch(*node, EXISTENCE, ALL, 0),
                Fact::Delete { node, version } => {
                    touch(*node, EXISTENCE | CHILDREN | content(*version), ALL, 0);
                }
                Fact::Set { node, version, .. } => touch(*node, EXISTENCE | content(*version), CONTENT, 0),
                Fact::ChildCreated { parent, number: Some(_), .. } => {
                    touch(*parent, EXISTENCE | CHILDREN, 0, CHILDREN);
                }
                Fact::CreateSequential { parent, seen, .. } => {
                    touch(*parent, EXISTENCE | CHILDREN, 0, CHILDREN);
                    seen.iter().for_each(|node| touch(*node, EXISTENCE, ALL, 0));
                }
                Fact::ChildCreated { parent, .. } | Fact::ChildDeleted { parent, .. } => {
                    touch(*parent, EXISTENCE, 0, CHILDREN);
                }
                Fact::EndSession { nodes, below, .. } => {
                    below.iter().for_each(|parent| touch(*parent, EXISTENCE, 0, CHILDREN));
                    for &(node, parent) in nodes.iter() {
                        touch(node, EXISTENCE, ALL, 0);
                        touch(parent, EXISTENCE, 0, CHILDREN);
                    }
                }
                Fact::Absent { node } | Fact::Present { node, stat: None, data: None } => {
                    touch(*node, EXISTENCE, 0, 0);
                }
                Fact::Present { node, stat: None, .. }
                | Fact::HasVersion { node, .. }
                | Fact::HasOtherVersion { node, .. } => touch(*node, EXISTENCE | CONTENT, 0, 0),
                Fact::Present { node, .. } => touch(*node, ALL, 0, 0),
                Fact::Children { node, .. } | Fact::HasChildren { node } => {
                    touch(*node, EXISTENCE | CHILDREN, 0, 0);
                }
                Fact::IsEphemeral { node } => touch(*node, EXISTENCE, 0, 0),
            }
        }
        Footprint(touches)
    }

    fn conflicts(&self, other: &Footprint) -> bool {
        self.0.iter().any(|one| other.0.iter().any(|other| one.conflicts(other)))
    }
}

impl Touch {
    fn conflicts(&self, other: &Touch) -> bool {
        let (ours, theirs) = (self.writes | self.counts, other.writes | other.counts);
        self.node == other.node
            && (ours & other.reads | self.reads & theirs | self.writes & theirs | ours & other.writes) != 0
    }
}

/// The nodes that the facts of a step speak of.
pub(super) fn nodes_of(facts: &[Fact]) -> Vec<Node> {
    let mut nodes: Vec<Node> = Footprint::of(facts).0.iter().map(|touch| touch.node).collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}
