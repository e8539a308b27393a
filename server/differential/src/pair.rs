//! ZooKeeper and zkd side by side: one program on both, the first difference, and the least that still shows it.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::generate;
use crate::program::Program;
use crate::run::{LEFT_OPEN, Seen, Server};

/// For the search of the least program: a difference is worth showing even if it is not.
const SHRINKING: Duration = Duration::from_secs(120);

pub struct Pair {
    zookeeper: Server,
    zkd: Server,
    /// Programs run so far: each has a place of its own.
    runs: u64,
}

/// The first place at which what two servers showed is not the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub program: Program,
    pub zookeeper: Option<Seen>,
    pub zkd: Option<Seen>,
}

/// A program that ran.
pub struct Outcome {
    pub program: Program,
    /// Replies, events and ends of connections.
    pub seen: usize,
    pub difference: Option<Difference>,
}

impl Pair {
    pub fn connect(zookeeper: SocketAddr, zkd: SocketAddr) -> Result<Pair> {
        Ok(Pair {
            zookeeper: Server::connect(zookeeper).context("begin a session with ZooKeeper")?,
            zkd: Server::connect(zkd).context("begin a session with zkd")?,
            runs: 0,
        })
    }

    /// Runs the program of a seed, or of it only these steps.
    pub fn run(&mut self, seed: u64, only: Option<&BTreeSet<usize>>) -> Result<Outcome> {
        self.runs += 1;
        let whole = generate::program(seed, &format!("/d{:07}", self.runs));
        let program = only.map_or_else(|| whole.clone(), |numbers| whole.only(numbers));
        let (zookeeper, zkd) = thread::scope(|scope| {
            let zookeeper = scope.spawn(|| self.zookeeper.run(&program));
            let zkd = self.zkd.run(&program);
            (zookeeper.join(), zkd)
        });
        let zookeeper = zookeeper.map_err(|_| anyhow!("the thread of ZooKeeper's side panicked"))?;
        let zookeeper = zookeeper.with_context(|| format!("run the program of seed {seed} on ZooKeeper"))?;
        let zkd = zkd.with_context(|| format!("run the program of seed {seed} on zkd"))?;
        let difference = first_difference(&zookeeper, &zkd).map(|(zookeeper, zkd)| Difference {
            program: program.clone(),
            zookeeper,
            zkd,
        });
        Ok(Outcome { program, seen: zookeeper.len(), difference })
    }

    /// Leaves out whatever is not needed for some difference to stay.
    pub fn shrink(&mut self, mut smallest: Difference) -> Result<Difference> {
        let begun = Instant::now();
        let seed = smallest.program.seed;
        let mut size = smallest.program.steps.len().div_ceil(2).max(1);
        loop {
            let mut from = 0;
            while from < smallest.program.steps.len() && begun.elapsed() < SHRINKING {
                let steps = smallest.program.steps.iter().enumerate();
                let kept =
                    steps.filter(|(at, _)| !(from..from + size).contains(at)).map(|(_, (number, _))| *number);
                let kept: BTreeSet<usize> = kept.collect();
                match self.run(seed, Some(&kept))?.difference {
                    Some(difference) => smallest = difference,
                    None => from += size,
                }
            }
            if size == 1 {
                return Ok(smallest);
            }
            size = size.div_ceil(2);
        }
    }
}

type Sides = (Option<Seen>, Option<Seen>);

fn first_difference(zookeeper: &[Seen], zkd: &[Seen]) -> Option<Sides> {
    // By a race of its own ZooKeeper leaves a connection open now and then, see docs/differences.md. zkd may not.
    let is_race = |seen: &&Seen| seen.text == LEFT_OPEN && !zkd.contains(seen);
    let zookeeper: Vec<_> = zookeeper.iter().filter(|seen| !is_race(seen)).collect();
    let longer = zookeeper.len().max(zkd.len());
    let at = (0..longer).find(|at| zookeeper.get(*at).copied() != zkd.get(*at))?;
    Some((zookeeper.get(at).copied().cloned(), zkd.get(at).cloned()))
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "DIFFERENCE below {}", self.program.root)?;
        for (number, step) in &self.program.steps {
            writeln!(f, "  {number:>3} {step}")?;
        }
        for (name, seen) in [("ZooKeeper", &self.zookeeper), ("zkd", &self.zkd)] {
            match seen {
                Some(Seen { step: Some(step), client, text }) => {
                    writeln!(f, "{name:>10}: behind step {step}, client {client}: {text}")?;
                }
                Some(Seen { step: None, client, text }) => {
                    writeln!(f, "{name:>10}: at the end, client {client}: {text}")?;
                }
                None => writeln!(f, "{name:>10}: nothing more")?,
            }
        }
        let numbers: Vec<String> = self.program.steps.iter().map(|(number, _)| number.to_string()).collect();
        write!(f, "again: --seed {} --steps {}", self.program.seed, numbers.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(texts: &[&str]) -> Vec<Seen> {
        texts.iter().map(|text| Seen { step: None, client: 0, text: (*text).to_owned() }).collect()
    }

    #[test]
    fn the_first_difference_is_found_also_where_one_side_ends() {
        assert_eq!(first_difference(&seen(&["a", "b"]), &seen(&["a", "b"])), None);
        let (zookeeper, zkd) = first_difference(&seen(&["a", "b", "c"]), &seen(&["a", "x", "y"])).unwrap();
        assert_eq!((zookeeper.unwrap().text, zkd.unwrap().text), ("b".to_owned(), "x".to_owned()));
        let (zookeeper, zkd) = first_difference(&seen(&["a"]), &seen(&["a", "b"])).unwrap();
        assert_eq!((zookeeper, zkd.unwrap().text), (None, "b".to_owned()));
    }

    #[test]
    fn a_connection_that_zookeeper_leaves_open_is_its_own_race_and_one_that_zkd_does_is_a_difference() {
        assert_eq!(first_difference(&seen(&["a", LEFT_OPEN, "b"]), &seen(&["a", "b"])), None);
        assert_eq!(first_difference(&seen(&["a", LEFT_OPEN]), &seen(&["a", LEFT_OPEN])), None);
        let (_, zkd) = first_difference(&seen(&["a", "b"]), &seen(&["a", LEFT_OPEN, "b"])).unwrap();
        assert_eq!(zkd.unwrap().text, LEFT_OPEN);
    }
}
