//! The names of things in the log: disks, ensembles, entries, and where a command came from.

use std::fmt;
use std::str::FromStr;

/// Names one disk for life. Minted at random when an empty disk is first used, never from a pod's ordinal and never
/// used twice: an id stands for one log, and a log that came back empty under its old id could vote twice.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u64);

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for MemberId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let value = parse_hex(text, "member id", 16)?;
        Ok(Self(value as u64))
    }
}

/// Names one ensemble for life, so that members of two ensembles never take each other for peers.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnsembleId(pub [u8; 16]);

impl fmt::Display for EnsembleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl FromStr for EnsembleId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        Ok(Self(parse_hex(text, "ensemble id", 32)?.to_be_bytes()))
    }
}

/// The text was not exactly the hex digits of an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read {what} from {text:?}: give exactly {digits} hex digits")]
pub struct ParseIdError {
    what: &'static str,
    text: String,
    digits: usize,
}

fn parse_hex(text: &str, what: &'static str, digits: usize) -> Result<u128, ParseIdError> {
    // from_str_radix would take a sign.
    let whole = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    whole.then(|| u128::from_str_radix(text, 16).ok()).flatten().ok_or_else(|| ParseIdError {
        what,
        text: text.to_owned(),
        digits,
    })
}

/// Place of an entry in the Raft log. The first is 1 or 0 as consensus counts; this crate only compares.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogIndex(pub u64);

impl fmt::Display for LogIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Raft term: one leader each.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub u64);

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One run of one member's process. Commands are numbered from 1 within it, so that each happens once however often
/// it is proposed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    pub member: MemberId,
    /// Rises at each start of the member's process.
    pub incarnation: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_show_all_their_digits_and_read_back() {
        let member = MemberId(0xab);
        assert_eq!(member.to_string(), "00000000000000ab");
        assert_eq!(member.to_string().parse(), Ok(member));
        let ensemble = EnsembleId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        assert_eq!(ensemble.to_string(), "000102030405060708090a0b0c0d0eff");
        assert_eq!(ensemble.to_string().parse(), Ok(ensemble));
    }

    #[test]
    fn anything_but_exact_hex_is_refused() {
        for text in ["", "ab", "+0000000000000ab", "00000000000000ag", "000000000000000ab"] {
            assert!(text.parse::<MemberId>().is_err(), "{text:?}");
        }
        let error = "x".parse::<EnsembleId>().expect_err("not hex");
        assert_eq!(error.to_string(), "read ensemble id from \"x\": give exactly 32 hex digits");
    }
}
