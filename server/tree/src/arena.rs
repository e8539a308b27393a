//! Values in numbered slots, which are used again after removal.
//!
//! Slots stand in chunks of fixed size, so growing copies nothing: doubling one vector of ten million nodes would stop
//! every client for as long as the copy takes, and hold both copies meanwhile. Numbers are local: two members with the
//! same tree may number its nodes differently, so no result may depend on them.

use std::num::NonZeroU32;
use std::ops::{Index, IndexMut};

/// Slots of one chunk: large enough to make the chunk table small, small enough to be no burden when nearly empty.
const CHUNK: usize = 4096;

/// The number of a slot in use. Four bytes, also inside an `Option`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Slot(NonZeroU32);

impl Slot {
    /// The one that an arena hands out first.
    pub const FIRST: Slot = Slot(NonZeroU32::MIN);

    pub fn from_index(index: u32) -> Option<Slot> {
        index.checked_add(1).and_then(NonZeroU32::new).map(Slot)
    }

    pub fn index(self) -> u32 {
        self.0.get() - 1
    }
}

pub(crate) struct Arena<T> {
    chunks: Vec<Vec<Option<T>>>,
    free: Vec<Slot>,
    used: usize,
}

impl<T> Arena<T> {
    pub fn new() -> Self {
        Self { chunks: Vec::new(), free: Vec::new(), used: 0 }
    }

    /// How many slots are in use.
    pub fn len(&self) -> usize {
        self.used
    }

    /// One more than the highest index that was ever in use.
    pub fn end(&self) -> u32 {
        match self.chunks.last() {
            None => 0,
            Some(last) => ((self.chunks.len() - 1) * CHUNK + last.len()) as u32,
        }
    }

    pub fn get(&self, index: u32) -> Option<&T> {
        let index = index as usize;
        self.chunks.get(index / CHUNK)?.get(index % CHUNK)?.as_ref()
    }

    pub fn insert(&mut self, value: T) -> Slot {
        self.used += 1;
        if let Some(slot) = self.free.pop() {
            *self.cell(slot) = Some(value);
            return slot;
        }
        let slot = Slot::from_index(self.end()).expect("2^32 znodes need more memory than machines have");
        if self.chunks.last().is_none_or(|last| last.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        self.chunks.last_mut().expect("was pushed if there was none").push(Some(value));
        slot
    }

    pub fn remove(&mut self, slot: Slot) -> T {
        let value = self.cell(slot).take().expect("only a slot in use is removed");
        self.free.push(slot);
        self.used -= 1;
        value
    }

    fn cell(&mut self, slot: Slot) -> &mut Option<T> {
        let index = slot.index() as usize;
        &mut self.chunks[index / CHUNK][index % CHUNK]
    }
}

impl<T> Index<Slot> for Arena<T> {
    type Output = T;

    fn index(&self, slot: Slot) -> &T {
        self.get(slot.index()).expect("links lead to slots in use")
    }
}

impl<T> IndexMut<Slot> for Arena<T> {
    fn index_mut(&mut self, slot: Slot) -> &mut T {
        self.cell(slot).as_mut().expect("links lead to slots in use")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_used_again_and_chunks_follow_each_other() {
        let mut arena = Arena::new();
        let slots: Vec<Slot> = (0..CHUNK + 1).map(|value| arena.insert(value)).collect();
        assert_eq!(slots[0], Slot::FIRST);
        assert_eq!(arena.end() as usize, CHUNK + 1);
        assert_eq!(arena[slots[CHUNK]], CHUNK);
        assert_eq!(arena.remove(slots[7]), 7);
        assert_eq!((arena.get(7), arena.len()), (None, CHUNK));
        assert_eq!(arena.insert(70), slots[7]);
        assert_eq!(arena.end() as usize, CHUNK + 1);
    }
}
