//! The two identities that disks carry, and the one of a pod template.

use std::fmt;
use std::str::FromStr;

/// Which ensemble a disk belongs to: 128 random bits, shown as 32 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnsembleId(pub u128);

/// Which disk: minted by the disk itself, never 0, never used twice. Shown as 16 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u64);

/// Which pod template: the name of the ControllerRevision that keeps it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(pub String);

/// The text is no id.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is no id of {digits} hex digits")]
pub struct InvalidId {
    text: String,
    digits: usize,
}

impl fmt::Display for EnsembleId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

impl fmt::Debug for EnsembleId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for EnsembleId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let value = (text.len() == 32).then(|| u128::from_str_radix(text, 16).ok()).flatten();
        value.map(Self).ok_or_else(|| InvalidId { text: text.to_owned(), digits: 32 })
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

impl fmt::Debug for MemberId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for MemberId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let value = (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok()).flatten();
        value.map(Self).ok_or_else(|| InvalidId { text: text.to_owned(), digits: 16 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_shown() {
        let ensemble = EnsembleId(0xab);
        assert_eq!(ensemble.to_string().parse::<EnsembleId>().unwrap(), ensemble);
        let member = MemberId(0xcd);
        assert_eq!(member.to_string(), "00000000000000cd");
        assert_eq!(member.to_string().parse::<MemberId>().unwrap(), member);
        assert!("cd".parse::<MemberId>().is_err());
        assert!("".parse::<EnsembleId>().is_err());
    }
}
