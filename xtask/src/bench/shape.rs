//! What load is put on: `set-100-16x16` is setData of 100 bytes, at 16 connections with 16 requests waiting at each.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub op: Op,
    pub bytes: u32,
    pub load: Load,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Set,
    Get,
    Mixed,
    Create,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    pub connections: u32,
    pub window: u32,
}

/// Why a word is no shape.
#[derive(Debug, PartialEq, Eq)]
pub struct NoShape;

impl Op {
    const ALL: [(Op, &str); 4] =
        [(Op::Set, "set"), (Op::Get, "get"), (Op::Mixed, "mixed"), (Op::Create, "create")];

    fn name(self) -> &'static str {
        Op::ALL.into_iter().find(|(op, _)| *op == self).map_or("", |(_, name)| name)
    }
}

impl Shape {
    /// For the load generator.
    pub fn arguments(&self) -> Vec<String> {
        let Shape { op, bytes, load: Load { connections, window } } = self;
        let words = ["--op".to_owned(), op.name().to_owned()];
        let numbers = [("--bytes", bytes), ("--connections", connections), ("--window", window)];
        let numbers = numbers.into_iter().flat_map(|(name, number)| [name.to_owned(), number.to_string()]);
        words.into_iter().chain(numbers).collect()
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shape { op, bytes, load: Load { connections, window } } = self;
        write!(f, "{}-{bytes}-{connections}x{window}", op.name())
    }
}

impl FromStr for Shape {
    type Err = NoShape;

    fn from_str(text: &str) -> Result<Self, NoShape> {
        let [op, bytes, load] = text.split('-').collect::<Vec<_>>()[..] else { return Err(NoShape) };
        let (connections, window) = load.split_once('x').ok_or(NoShape)?;
        let (op, _) = Op::ALL.into_iter().find(|(_, name)| *name == op).ok_or(NoShape)?;
        let number = |text: &str| text.parse().map_err(|_| NoShape);
        let load = Load { connections: number(connections)?, window: number(window)? };
        Ok(Shape { op, bytes: number(bytes)?, load })
    }
}

impl fmt::Display for NoShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a shape is set, get, mixed or create, bytes, and connections x window: set-100-16x16")
    }
}

impl std::error::Error for NoShape {}

impl Serialize for Shape {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_survives_being_written() {
        for text in ["set-100-16x16", "create-1024-1x1", "mixed-100-256x1"] {
            assert_eq!(text.parse::<Shape>().unwrap().to_string(), text);
        }
        for text in ["set-100", "put-100-1x1", "set-100-16", "set-x-1x1", ""] {
            assert_eq!(text.parse::<Shape>(), Err(NoShape), "{text}");
        }
    }
}
