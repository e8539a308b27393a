//! Links between members that are cut, in one direction or both, or lose packets. Clients reach everybody all the time.

use anyhow::Result;
use rand::seq::SliceRandom as _;

use crate::network::Side;
use crate::scene::Scene;

/// Longer than an election, and sometimes than a session lives.
const CUT_MS: std::ops::Range<u64> = 1_000..5_000;

/// Who is cut off from whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// The leader with as many others as are no majority.
    LeaderInMinority,
    LeaderInMajority,
    /// Two halves that both reach one member, and not each other.
    Bridge,
    /// Everybody reaches two neighbours.
    Ring,
    LeaderOnlySends,
    LeaderOnlyHears,
}

const SHAPES: [Shape; 6] = [
    Shape::LeaderInMinority,
    Shape::LeaderInMajority,
    Shape::Bridge,
    Shape::Ring,
    Shape::LeaderOnlySends,
    Shape::LeaderOnlyHears,
];

/// T10.
pub fn cuts(scene: &mut Scene) -> Result<()> {
    let mut shapes = SHAPES;
    shapes.shuffle(&mut scene.random);
    for shape in shapes.into_iter().take(3) {
        let leader = scene.ensemble.leader()?;
        let mut order = scene.ensemble.others(leader);
        order.shuffle(&mut scene.random);
        order.insert(0, leader);
        let cut = |scene: &mut Scene| -> Result<()> {
            for (from, to) in severed(shape, &order) {
                scene.ensemble.network.cut(Side::Member(from), to)?;
            }
            Ok(())
        };
        scene.passes(&format!("{shape:?}"), CUT_MS, cut, |scene| scene.ensemble.network.heal())?;
        scene.pause_ms(500..2_000);
    }
    Ok(())
}

/// The pairs of members of which the first does not reach the second any more. The leader comes first in `order`.
fn severed(shape: Shape, order: &[usize]) -> Vec<(usize, usize)> {
    let count = order.len();
    let minority = (count - 1) / 2;
    let majority = count - minority;
    let reaches = |from: usize, to: usize| match shape {
        Shape::LeaderInMinority => (from < minority) == (to < minority),
        Shape::LeaderInMajority => (from < majority) == (to < majority),
        Shape::Bridge => from == minority || to == minority || (from < minority) == (to < minority),
        Shape::Ring => (from + 1) % count == to || (to + 1) % count == from,
        Shape::LeaderOnlySends => to != 0,
        Shape::LeaderOnlyHears => from != 0,
    };
    let pairs = (0..count).flat_map(|from| (0..count).map(move |to| (from, to)));
    pairs
        .filter(|(from, to)| from != to && !reaches(*from, *to))
        .map(|(from, to)| (order[from], order[to]))
        .collect()
}

/// T11. What is lost is sent again by TCP, so streams stand still for a fifth of a second and more, and go on.
pub fn losses(scene: &mut Scene) -> Result<()> {
    for percent in [2, 10] {
        let lose = |scene: &mut Scene| {
            let network = &scene.ensemble.network;
            (0..scene.ensemble.members()).try_for_each(|to| network.lose(to, f64::from(percent) / 100.0))
        };
        scene.passes(&format!("{percent} % of packets lost"), 4_000..6_000, lose, |scene| {
            scene.ensemble.network.heal()
        })?;
        scene.pause_ms(500..1_500);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_cut_what_they_say() {
        let five = [4, 0, 1, 2, 3];
        let cut = |shape, from, to| severed(shape, &five).contains(&(from, to));
        assert_eq!(severed(Shape::LeaderInMinority, &five).len(), 2 * 2 * 3);
        assert!(cut(Shape::LeaderInMinority, 4, 1) && !cut(Shape::LeaderInMinority, 4, 0));
        assert!(!cut(Shape::LeaderInMajority, 4, 1) && cut(Shape::LeaderInMajority, 2, 4));
        assert!((0..5).all(|other| !cut(Shape::Bridge, 1, other)) && cut(Shape::Bridge, 4, 3));
        assert_eq!(severed(Shape::Ring, &five).len(), 10);
        assert!(cut(Shape::LeaderOnlySends, 0, 4) && !cut(Shape::LeaderOnlySends, 4, 0));
        assert!(!cut(Shape::LeaderOnlyHears, 0, 4) && cut(Shape::LeaderOnlyHears, 4, 0));
        assert!(severed(Shape::Ring, &[0, 1, 2]).is_empty());
    }
}
