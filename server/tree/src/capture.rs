//! What a running snapshot needs to remember of the tree as it was when it began.

use std::sync::{Arc, Weak};

use hashbrown::HashMap;

use crate::arena::Slot;

/// Nodes as they were, for slots that changed before a running snapshot came to them. Empty while none runs.
///
/// It holds at most what the tree held when the snapshot began; each step of the snapshot lets go of what it wrote.
#[derive(Default)]
pub(crate) struct Capture {
    running: Option<Running>,
}

struct Running {
    /// Lives as long as the caller keeps the snapshot, so that dropping it is all it takes to end one.
    handle: Weak<()>,
    /// Slots before it are written, slots from `end` on were empty at the beginning.
    next: u32,
    end: u32,
    // Looked up, never iterated.
    before: HashMap<u32, Before, foldhash::fast::RandomState>,
    held_bytes: usize,
}

/// What a slot held when the snapshot began.
pub(crate) enum Before {
    Empty,
    /// As [`record::image`](crate::record::image) writes it.
    Node(Box<[u8]>),
}

impl Capture {
    /// Begins to watch the slots before `end`.
    ///
    /// # Panics
    /// If a snapshot that began earlier was not dropped yet: two would need two memories.
    pub fn begin(&mut self, end: u32) -> Arc<()> {
        assert!(self.live().is_none(), "one snapshot at a time: drop the one before");
        let handle = Arc::new(());
        self.running = Some(Running {
            handle: Arc::downgrade(&handle),
            next: 0,
            end,
            before: HashMap::default(),
            held_bytes: 0,
        });
        handle
    }

    pub fn belongs_to(&self, handle: &Arc<()>) -> bool {
        self.running.as_ref().is_some_and(|running| running.handle.as_ptr() == Arc::as_ptr(handle))
    }

    /// The next slot to write, with what it held at the beginning if that changed since.
    pub fn step(&mut self) -> Option<(u32, Option<Before>)> {
        let running = self.running.as_mut().filter(|running| running.next < running.end)?;
        let index = running.next;
        running.next += 1;
        let before = running.before.remove(&index);
        if let Some(Before::Node(image)) = &before {
            running.held_bytes -= image.len();
        }
        Some((index, before))
    }

    pub fn end(&mut self) {
        self.running = None;
    }

    pub fn held_bytes(&self) -> usize {
        self.running.as_ref().map_or(0, |running| running.held_bytes)
    }

    /// Whether the node of this slot must be kept before it changes.
    pub fn wants(&mut self, slot: Slot) -> bool {
        let index = slot.index();
        self.live().is_some_and(|running| {
            (running.next..running.end).contains(&index) && !running.before.contains_key(&index)
        })
    }

    pub fn keep(&mut self, slot: Slot, image: Box<[u8]>) {
        if let Some(running) = &mut self.running {
            running.held_bytes += image.len();
            running.before.insert(slot.index(), Before::Node(image));
        }
    }

    /// A node was put into this slot. If that was empty at the beginning, the snapshot must pass it over.
    pub fn slot_filled(&mut self, slot: Slot) {
        if self.wants(slot)
            && let Some(running) = &mut self.running
        {
            running.before.insert(slot.index(), Before::Empty);
        }
    }

    fn live(&mut self) -> Option<&Running> {
        if self.running.as_ref().is_some_and(|running| running.handle.strong_count() == 0) {
            self.running = None;
        }
        self.running.as_ref()
    }
}
