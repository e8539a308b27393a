//! The two numbers that name things in this protocol. Both are opaque to clients; both are shown in hex, as
//! ZooKeeper's own logs and four-letter words do.

use std::fmt;

/// ZooKeeper transaction id: `epoch << 32 | counter`. Orders every change of the ensemble.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zxid(pub i64);

impl Zxid {
    /// What replies and events carry when no transaction stands behind them: events made up by setWatches, and the
    /// answer to an unknown opcode. Clients ignore any zxid that is not above 0.
    pub const UNKNOWN: Zxid = Zxid(-1);

    pub const fn new(epoch: u32, counter: u32) -> Self {
        Self(((epoch as i64) << 32) | counter as i64)
    }

    /// The upper 32 bits: rises with each new leader.
    pub const fn epoch(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The lower 32 bits: rises with each transaction of one epoch.
    pub const fn counter(self) -> u32 {
        self.0 as u32
    }
}

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// Names a client's session. 0 asks for a new one; negative values are legal (their server id is 128 or more).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub i64);

impl SessionId {
    /// In a [`ConnectRequest`](crate::ConnectRequest): "give me a new session"; in a response: "yours is gone".
    pub const NONE: SessionId = SessionId(0);
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zxid_is_epoch_and_counter() {
        let zxid = Zxid::new(0x8000_0001, 0xffff_fffe);
        assert_eq!((zxid.epoch(), zxid.counter()), (0x8000_0001, 0xffff_fffe));
        assert_eq!(Zxid::new(5, 1).to_string(), "0x500000001");
        assert_eq!(Zxid::new(0, u32::MAX), Zxid(0xffff_ffff));
    }

    #[test]
    fn negative_ids_show_as_two_s_complement() {
        assert_eq!(SessionId(-1).to_string(), "0xffffffffffffffff");
    }
}
