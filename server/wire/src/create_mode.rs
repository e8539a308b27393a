//! What kind of znode a create asks for.

use crate::error_code::ErrorCode;

/// The kinds of `CreateMode`, as the flags of a create request number them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum CreateMode {
    Persistent = 0,
    Ephemeral = 1,
    PersistentSequential = 2,
    EphemeralSequential = 3,
    Container = 4,
    PersistentTtl = 5,
    PersistentSequentialTtl = 6,
}

impl CreateMode {
    /// # Errors
    /// [`ErrorCode::BadArguments`] for flags that name no mode.
    pub const fn from_flags(flags: i32) -> Result<Self, ErrorCode> {
        Ok(match flags {
            0 => Self::Persistent,
            1 => Self::Ephemeral,
            2 => Self::PersistentSequential,
            3 => Self::EphemeralSequential,
            4 => Self::Container,
            5 => Self::PersistentTtl,
            6 => Self::PersistentSequentialTtl,
            _ => return Err(ErrorCode::BadArguments),
        })
    }

    pub const fn flags(self) -> i32 {
        self as i32
    }

    pub const fn is_ephemeral(self) -> bool {
        matches!(self, Self::Ephemeral | Self::EphemeralSequential)
    }

    pub const fn is_sequential(self) -> bool {
        matches!(self, Self::PersistentSequential | Self::EphemeralSequential | Self::PersistentSequentialTtl)
    }

    pub const fn is_ttl(self) -> bool {
        matches!(self, Self::PersistentTtl | Self::PersistentSequentialTtl)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_name_the_modes_and_nothing_else() {
        for flags in 0..=6 {
            assert_eq!(CreateMode::from_flags(flags).expect("a mode").flags(), flags);
        }
        for flags in [-1, 7, i32::MAX] {
            assert_eq!(CreateMode::from_flags(flags), Err(ErrorCode::BadArguments));
        }
    }

    #[test]
    fn sequential_and_ephemeral_are_independent() {
        use CreateMode::*;
        let sequential = [PersistentSequential, EphemeralSequential, PersistentSequentialTtl];
        let ephemeral = [Ephemeral, EphemeralSequential];
        for flags in 0..=6 {
            let mode = CreateMode::from_flags(flags).expect("a mode");
            assert_eq!(mode.is_sequential(), sequential.contains(&mode));
            assert_eq!(mode.is_ephemeral(), ephemeral.contains(&mode));
        }
    }
}
