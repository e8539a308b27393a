//! A piece of a disk's life, cut short by a power loss at each change of the disk and in every way.

use std::collections::BTreeSet;
use std::error::Error;

use zke_storage::SimDisk;
use zke_storage::disk::{Fault, Point};

pub type Failed = Box<dyn Error>;

/// What the power loss does to the change that it falls into, and the seed that decides what it leaves of the rest.
const WAYS: [(Fault, u64); 9] = [
    (Fault::PowerLossBefore, 0),
    (Fault::PowerLossBefore, 1),
    (Fault::PowerLoss, 2),
    (Fault::PowerLoss, 3),
    (Fault::PowerLoss, 4),
    (Fault::PowerLossAfter, 5),
    (Fault::TornWrite { sectors: 1 }, 6),
    (Fault::TornWrite { sectors: 2 }, 7),
    (Fault::TornWrite { sectors: 5 }, 8),
];

/// `T` is what whoever used the disk was told: after the power loss all of it has to hold.
pub struct Life<T> {
    /// The disk on which it begins, from a seed.
    pub begin: fn(u64) -> SimDisk,
    /// Goes on until it ends or something fails.
    pub play: fn(&SimDisk, &mut T) -> Result<(), Failed>,
    /// Panics unless a process starts by itself on what the power loss left, and finds what was promised.
    pub check: fn(&SimDisk, &T),
}

/// At which of its changes a life is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hits {
    Every,
    /// For long ones: the first at each point.
    First,
}

impl<T: Default> Life<T> {
    /// Returns the points at which it was cut.
    pub fn cut_short(&self, hits: Hits) -> BTreeSet<String> {
        let mut cut = BTreeSet::new();
        for (fault, seed) in WAYS {
            let begun = (self.begin)(seed);
            let whole = begun.fork();
            // Some lives are about an error: they end with it.
            let _ = (self.play)(&whole, &mut T::default());
            let (points, first) = (whole.points(), begun.points().len());
            for (operation, point) in points.iter().enumerate().skip(first) {
                if hits == Hits::Every || !points[first..operation].contains(point) {
                    self.cut_at(&begun, operation as u64, *point, fault);
                    cut.insert(point.to_string());
                }
            }
        }
        cut
    }

    fn cut_at(&self, begun: &SimDisk, operation: u64, point: Point, fault: Fault) {
        let _place = Place { operation, point, fault };
        let disk = begun.fork();
        disk.inject(operation, fault);
        let mut told = T::default();
        // What fails is seen, or not, by whoever plays: a file may be removed as a courtesy.
        let _ = (self.play)(&disk, &mut told);
        assert!(!disk.has_power(), "the same life took another way");
        (self.check)(&disk.crash(), &told);
    }
}

/// Says where a panic came from.
struct Place {
    operation: u64,
    point: Point,
    fault: Fault,
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Place { operation, point, fault } = self;
            eprintln!("when the power went off at {point}, change {operation} of the disk, by {fault:?}");
        }
    }
}
