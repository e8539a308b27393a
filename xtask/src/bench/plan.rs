//! What is measured in which order, and for how long.

use std::time::Duration;

use serde::Serialize;

use super::Options;
use super::shape::{Load, Op, Shape};
use crate::servers::Product;

const ONE_AT_A_TIME: Load = Load { connections: 1, window: 1 };
const SIXTEEN_BY_SIXTEEN: Load = Load { connections: 16, window: 16 };
const MANY_CLIENTS: Load = Load { connections: 256, window: 1 };
const LOADS: [Load; 3] = [SIXTEEN_BY_SIXTEEN, ONE_AT_A_TIME, MANY_CLIENTS];

/// The JVM compiles while it warms up; what it has not compiled by then would be held against ZooKeeper.
const QUICK_WARM_UP_ZOOKEEPER: Duration = Duration::from_secs(5);
const FULL_WARM_UP_ZOOKEEPER: Duration = Duration::from_secs(12);
/// Nothing to compile: only files and buffers that are used for the first time.
const WARM_UP_ZKD: Duration = Duration::from_millis(1_200);

pub struct Plan {
    pub products: Vec<Product>,
    members: Vec<u8>,
    rounds: u32,
    pub shapes: Vec<Shape>,
    warm_up_zookeeper: Duration,
    /// Under load before each shape is counted.
    pub ramp: Duration,
    pub measure: Duration,
    pub profile: &'static str,
}

/// One server with all shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    pub product: Product,
    pub members: u8,
}

/// For readers of the JSON.
#[derive(Serialize)]
pub struct Description {
    rounds: u32,
    measured_ms: u64,
    ramp_ms: u64,
    profile: &'static str,
}

pub fn of(options: &Options) -> Plan {
    let quick = options.quick;
    let or = |given: &[u8], usual: &[u8]| if given.is_empty() { usual.to_vec() } else { given.to_vec() };
    let usual_ms = if quick { 700 } else { 4_000 };
    Plan {
        products: options.only.map_or(vec![Product::ZooKeeper, Product::Zkd], |only| vec![only]),
        members: or(&options.members, &[1, 3]),
        rounds: options.rounds.unwrap_or(if quick { 2 } else { 3 }),
        shapes: if options.shapes.is_empty() { usual_shapes(quick) } else { options.shapes.clone() },
        warm_up_zookeeper: if quick { QUICK_WARM_UP_ZOOKEEPER } else { FULL_WARM_UP_ZOOKEEPER },
        ramp: Duration::from_millis(if quick { 200 } else { 1_000 }),
        measure: options
            .seconds
            .map_or(Duration::from_millis(usual_ms), |seconds| Duration::from_secs(seconds.into())),
        // What the compiler can still find across crates takes it minutes.
        profile: if quick { "release" } else { "dist" },
    }
}

fn usual_shapes(quick: bool) -> Vec<Shape> {
    // Creates come last: they leave a larger tree behind.
    let kinds: &[(Op, u32)] = match quick {
        true => &[(Op::Set, 100), (Op::Get, 100), (Op::Mixed, 100)],
        false => &[
            (Op::Set, 100),
            (Op::Set, 1_024),
            (Op::Get, 100),
            (Op::Get, 1_024),
            (Op::Mixed, 100),
            (Op::Create, 100),
        ],
    };
    kinds.iter().flat_map(|&(op, bytes)| LOADS.map(|load| Shape { op, bytes, load })).collect()
}

impl Plan {
    /// All turns: within each size the servers alternate, and the rounds are as far apart as they can be.
    pub fn turns(&self) -> Vec<Turn> {
        let round = self
            .members
            .iter()
            .flat_map(|&members| self.products.iter().map(move |&product| Turn { product, members }));
        (0..self.rounds).flat_map(|_| round.clone()).collect()
    }

    pub fn warm_up(&self, product: Product) -> Duration {
        match product {
            Product::ZooKeeper => self.warm_up_zookeeper,
            Product::Zkd => WARM_UP_ZKD,
        }
    }

    pub fn describe(&self) -> Description {
        let ms = |duration: Duration| duration.as_millis() as u64;
        Description {
            rounds: self.rounds,
            measured_ms: ms(self.measure),
            ramp_ms: ms(self.ramp),
            profile: self.profile,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_take_turns() {
        let plan = of(&Options { quick: true, members: vec![3], ..Options::default() });
        let products: Vec<_> = plan.turns().iter().map(|turn| turn.product).collect();
        use Product::{Zkd, ZooKeeper};
        assert_eq!(products, [ZooKeeper, Zkd, ZooKeeper, Zkd]);
        assert!(plan.turns().iter().all(|turn| turn.members == 3));
        assert_eq!(plan.shapes.len(), 9);
    }

    #[test]
    fn quick_is_about_two_minutes() {
        let plan = of(&Options { quick: true, ..Options::default() });
        let of_turn = |turn: &Turn| plan.warm_up(turn.product) + (plan.ramp + plan.measure) * 9;
        let total: Duration = plan.turns().iter().map(of_turn).sum();
        assert!(total < Duration::from_secs(105), "{total:?} without starting and ending servers");
    }
}
