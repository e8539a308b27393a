//! Whose a znode is, and with that when it goes by itself, in the one number that ZooKeeper stores for it.
//!
//! The encoding is ZooKeeper's `EphemeralType`, also in its snapshots: 0 nobody, `i64::MIN` a container, the top byte
//! 0xff a TTL with its milliseconds in the low 40 bits, and anything else the session of an ephemeral.

use zke_wire::SessionId;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Nobody,
    /// The node is ephemeral: it goes with its session.
    Session(SessionId),
    /// It goes some time after its last child went.
    Container,
    /// It goes when it has no children and was not written to for so long: 1 to [`TTL_MS_MAX`].
    Ttl {
        ttl_ms: i64,
    },
}

/// 34 years.
pub(crate) const TTL_MS_MAX: i64 = (1 << 40) - 1;

const CONTAINER: i64 = i64::MIN;
const TTL: i64 = 0xff << 56;

impl Owner {
    pub fn from_stored(stored: i64) -> Owner {
        match stored {
            0 => Owner::Nobody,
            CONTAINER => Owner::Container,
            ttl if ttl & TTL == TTL => Owner::Ttl { ttl_ms: ttl & TTL_MS_MAX },
            session => Owner::Session(SessionId(session)),
        }
    }

    pub fn stored(self) -> i64 {
        match self {
            Owner::Nobody => 0,
            Owner::Container => CONTAINER,
            Owner::Ttl { ttl_ms } => {
                assert!((1..=TTL_MS_MAX).contains(&ttl_ms), "the caller checks the range");
                TTL | ttl_ms
            }
            Owner::Session(session) => session.0,
        }
    }

    pub fn session(self) -> Option<SessionId> {
        match self {
            Owner::Session(session) => Some(session),
            Owner::Nobody | Owner::Container | Owner::Ttl { .. } => None,
        }
    }

    /// Whether a session of that id could be told from every other owner.
    pub fn may_be(session: SessionId) -> bool {
        Owner::from_stored(session.0) == Owner::Session(session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_read_back() {
        for ttl_ms in [1, 1_500, TTL_MS_MAX] {
            let owner = Owner::Ttl { ttl_ms };
            assert_eq!(Owner::from_stored(owner.stored()), owner);
        }
        for owner in [Owner::Nobody, Owner::Container, Owner::Session(SessionId(-7 << 56))] {
            assert_eq!(Owner::from_stored(owner.stored()), owner);
        }
        assert_eq!(Owner::Ttl { ttl_ms: 0x1234 }.stored() as u64, 0xff00_0000_0000_1234);
    }

    #[test]
    fn some_session_ids_would_mean_something_else() {
        for id in [0, i64::MIN, -1, 0xff << 56] {
            assert!(!Owner::may_be(SessionId(id)), "{id:#x}");
        }
        for id in [1, i64::MAX, 0xfe << 56] {
            assert!(Owner::may_be(SessionId(id)), "{id:#x}");
        }
    }
}
