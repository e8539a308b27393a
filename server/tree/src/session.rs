//! The sessions that the log has begun and not ended. Deadlines are the leader's own business and not kept here.

use std::collections::{BTreeMap, BTreeSet};

use subtle::ConstantTimeEq as _;
use zke_wire::{ErrorCode, SessionId};

use crate::arena::Slot;
use crate::digest::Digest;

/// A client's session. Its connection may come and go, on any member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub id: SessionId,
    pub password: [u8; 16],
    /// As negotiated when it was last attached.
    pub timeout_ms: i32,
    /// 0 at creation, one more at each attach. Only the connection that knows the latest may write.
    pub attach_epoch: u32,
    pub(crate) ephemerals: BTreeSet<Slot>,
}

impl Session {
    pub(crate) fn new(id: SessionId, password: [u8; 16], timeout_ms: i32) -> Self {
        Self { id, password, timeout_ms, attach_epoch: 0, ephemerals: BTreeSet::new() }
    }

    pub fn num_ephemerals(&self) -> usize {
        self.ephemerals.len()
    }

    /// Without its ephemerals, which the tree's digest covers.
    fn digest(&self) -> u64 {
        let numbers = (u64::from(self.attach_epoch) << 32) | u64::from(self.timeout_ms as u32);
        Digest::new(3).signed(self.id.0).word(numbers).bytes(&self.password).value()
    }
}

pub(crate) struct Sessions {
    /// In the order of ids, since they are iterated: for snapshots, and by the leader.
    by_id: BTreeMap<SessionId, Session>,
    digest: u64,
}

impl Sessions {
    pub fn new() -> Self {
        Self { by_id: BTreeMap::new(), digest: 0 }
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn digest(&self) -> u64 {
        self.digest
    }

    pub fn get(&self, id: SessionId) -> Option<&Session> {
        self.by_id.get(&id)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Session> {
        self.by_id.values()
    }

    /// The session must be new.
    pub fn insert(&mut self, session: Session) {
        self.digest = self.digest.wrapping_add(session.digest());
        self.by_id.insert(session.id, session);
    }

    /// # Errors
    /// `SessionExpired` if there is no such session, or the password is another.
    pub fn attach(
        &mut self,
        id: SessionId,
        password: &[u8; 16],
        timeout_ms: i32,
    ) -> Result<&Session, ErrorCode> {
        // In a time that tells nobody how much of a guess was right.
        let session = self.by_id.get_mut(&id).filter(|session| session.password.ct_eq(password).into());
        let session = session.ok_or(ErrorCode::SessionExpired)?;
        self.digest = self.digest.wrapping_sub(session.digest());
        session.timeout_ms = timeout_ms;
        session.attach_epoch = session.attach_epoch.wrapping_add(1);
        self.digest = self.digest.wrapping_add(session.digest());
        Ok(session)
    }

    pub fn remove(&mut self, id: SessionId) -> Option<Session> {
        let session = self.by_id.remove(&id)?;
        self.digest = self.digest.wrapping_sub(session.digest());
        Some(session)
    }

    /// Whether a connection that attached at `attach_epoch` may act for the session.
    ///
    /// # Errors
    /// `SessionExpired` if there is no such session, `SessionMoved` if another connection attached to it since.
    pub fn check(&self, id: SessionId, attach_epoch: u32) -> Result<(), ErrorCode> {
        match self.by_id.get(&id) {
            None => Err(ErrorCode::SessionExpired),
            Some(session) if session.attach_epoch != attach_epoch => Err(ErrorCode::SessionMoved),
            Some(_) => Ok(()),
        }
    }

    pub fn own(&mut self, id: SessionId, ephemeral: Slot) {
        if let Some(session) = self.by_id.get_mut(&id) {
            session.ephemerals.insert(ephemeral);
        }
    }

    pub fn disown(&mut self, id: SessionId, ephemeral: Slot) {
        if let Some(session) = self.by_id.get_mut(&id) {
            session.ephemerals.remove(&ephemeral);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_a_password_counts() {
        let mut sessions = Sessions::new();
        sessions.insert(Session::new(SessionId(1), [7; 16], 1_000));
        for place in 0..16 {
            let mut wrong = [7; 16];
            wrong[place] ^= 0x80;
            assert_eq!(
                sessions.attach(SessionId(1), &wrong, 1_000),
                Err(ErrorCode::SessionExpired),
                "{place}"
            );
        }
        assert!(sessions.attach(SessionId(1), &[7; 16], 1_000).is_ok());
    }
}
