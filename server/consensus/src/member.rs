//! Who this member is, and whom it talks to.
//!
//! The rules by which a stream from another member is accepted stand here, in one pure function, [`judge`]:
//! a wrong ensemble, a wrong receiver, a retired id and a pod name that contradicts a known member are refused.
//! An id that is newer than this member's own membership is accepted, since Raft's term and log decide then;
//! otherwise a member that missed a replacement could never catch up.

use std::io;

use parking_lot::Mutex;
use zke_storage::{DiskState, Identity, StorageError};
use zke_tree::{ApplyLevelTooNew, EnsembleId, MemberId, Origin, expect_apply_level};

use crate::peer::{Hello, StreamKind};

/// Makes an identity durable before it returns.
type Keep = Box<dyn Fn(&Identity) -> Result<(), StorageError> + Send + Sync>;

/// This process on its disk: the identity, how others name it, and its incarnation.
pub struct Member {
    pod: String,
    /// Where there is no operator, a blank disk joins by itself exactly when an ensemble's membership names its id.
    joins_by_itself: bool,
    newest_apply_level: u32,
    identity: Mutex<Identity>,
    keep: Keep,
}

impl Member {
    pub fn new(
        pod: String,
        joins_by_itself: bool,
        newest_apply_level: u32,
        identity: Identity,
        keep: Keep,
    ) -> Member {
        Member { pod, joins_by_itself, newest_apply_level, identity: Mutex::new(identity), keep }
    }

    pub fn pod(&self) -> &str {
        &self.pod
    }

    pub fn identity(&self) -> Identity {
        self.identity.lock().clone()
    }

    pub fn id(&self) -> MemberId {
        self.identity.lock().member
    }

    pub fn origin(&self) -> Origin {
        let identity = self.identity.lock();
        Origin { member: identity.member, incarnation: identity.incarnation }
    }

    /// The disk becomes part of `ensemble`; durable on return. Repeating it for the same ensemble changes nothing.
    pub fn adopt(&self, ensemble: EnsembleId, state: DiskState) -> Result<(), AdoptError> {
        let mut identity = self.identity.lock();
        match identity.ensemble {
            Some(own) if own == ensemble => return Ok(()),
            Some(own) => return Err(AdoptError::OtherEnsemble { own, asked: ensemble }),
            None => {}
        }
        let adopted = Identity { ensemble: Some(ensemble), state, ..identity.clone() };
        (self.keep)(&adopted)?;
        *identity = adopted;
        Ok(())
    }

    /// This id was removed from its ensemble for ever; durable on return.
    pub fn retire(&self) -> Result<(), StorageError> {
        self.turn_into(DiskState::Retired)
    }

    /// Lets a retired disk begin anew at the next start; durable on return.
    pub fn renew(&self) -> Result<(), StorageError> {
        self.turn_into(DiskState::Renewing)
    }

    /// The state that is on this disk is not that of the others; durable on return.
    pub fn diverge(&self) -> Result<(), StorageError> {
        self.turn_into(DiskState::Diverged)
    }

    fn turn_into(&self, state: DiskState) -> Result<(), StorageError> {
        let mut identity = self.identity.lock();
        let changed = Identity { state, ..identity.clone() };
        (self.keep)(&changed)?;
        *identity = changed;
        Ok(())
    }

    /// Another member turned a stream of ours away. If it says that this id is retired, it knows from its ensemble's
    /// log what never reached this disk: a member that was down when it was removed hears nothing more.
    pub fn hear_refusal(&self, error: &io::Error) {
        let refusal = error.get_ref().and_then(|inner| inner.downcast_ref::<Refusal>());
        if !matches!(refusal, Some(Refusal::Retired)) || self.is_retired() {
            return;
        }
        match self.retire() {
            Ok(()) => tracing::warn!("this disk was retired from its ensemble: a member of it says so"),
            Err(error) => tracing::error!(%error, "cannot record that this disk was retired"),
        }
    }

    /// Whether a probe of its own ensemble tells a retired disk to begin anew: without an operator nobody else does, and
    /// only a leader whose configuration names this server asks.
    pub fn is_wanted_again(&self, probe: &Hello) -> bool {
        let own = self.identity.lock();
        self.joins_by_itself
            && own.state == DiskState::Retired
            && own.ensemble.is_some()
            && own.ensemble == probe.ensemble
    }

    /// Whether this member takes no part in its ensemble any more.
    pub fn is_retired(&self) -> bool {
        self.identity.lock().state.has_left()
    }

    /// The hello of a stream to `to`.
    pub fn hello(&self, kind: StreamKind, to: MemberId) -> io::Result<Hello> {
        let identity = self.identity.lock();
        let blank =
            || io::Error::new(io::ErrorKind::NotConnected, "this disk is blank: it has no ensemble yet");
        Ok(Hello {
            kind,
            ensemble: Some(identity.ensemble.ok_or_else(blank)?),
            from: identity.member,
            from_pod: self.pod.clone(),
            from_incarnation: identity.incarnation,
            newest_apply_level: self.newest_apply_level,
            to: Some(to),
        })
    }

    /// The hello of a probe, which needs no ensemble.
    pub fn probe_hello(&self) -> Hello {
        let identity = self.identity.lock();
        Hello {
            kind: StreamKind::Probe,
            ensemble: identity.ensemble,
            from: identity.member,
            from_pod: self.pod.clone(),
            from_incarnation: identity.incarnation,
            newest_apply_level: self.newest_apply_level,
            to: None,
        }
    }

    /// Checks a hello, and adopts its ensemble if this blank disk may.
    pub fn welcome(&self, hello: &Hello, known: Known<'_>) -> Result<(), Refusal> {
        let verdict = judge(hello, &self.identity.lock(), self.joins_by_itself, known)?;
        if let Some(ensemble) = verdict {
            self.adopt(ensemble, DiskState::Joining).map_err(|error| match error {
                AdoptError::OtherEnsemble { .. } => Refusal::WrongEnsemble,
                AdoptError::Storage(error) => Refusal::Storage(error),
            })?;
        }
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    #[error(
        "cannot join ensemble {asked}: this disk belongs to ensemble {own}; mount another volume or an empty one"
    )]
    OtherEnsemble { own: EnsembleId, asked: EnsembleId },
    #[error("cannot record the ensemble on this disk")]
    Storage(#[from] StorageError),
}

/// Why a stream from another member was closed at once.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("it belongs to another ensemble")]
    WrongEnsemble,
    #[error("it looks for another member than the one on this disk")]
    NotMe,
    #[error("its id was retired: its disk has to be replaced under a new id")]
    Retired,
    #[error("its pod name contradicts the member known under its id")]
    WrongPod,
    #[error("its certificate names another pod")]
    WrongCertificate,
    #[error("it runs a version that is too old for this ensemble: {0}")]
    TooOld(#[source] ApplyLevelTooNew),
    #[error("this disk is blank and waits for Bootstrap or Join")]
    Blank,
    #[error("this disk cannot record its ensemble")]
    Storage(#[source] StorageError),
}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> io::Error {
        io::Error::new(io::ErrorKind::PermissionDenied, refusal)
    }
}

/// What this member knows of the sender of a hello.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Replicated: the id left for ever.
    pub retired: bool,
    /// The pod under which the membership knows the id.
    pub pod: Option<&'a str>,
    /// The ensemble's.
    pub apply_level: u32,
}

/// Whether to accept a hello; `Some` when this disk has to adopt the ensemble first.
fn judge(
    hello: &Hello,
    own: &Identity,
    joins_by_itself: bool,
    known: Known<'_>,
) -> Result<Option<EnsembleId>, Refusal> {
    if hello.kind == StreamKind::Probe {
        return Ok(None);
    }
    // Before all else: a member of another ensemble must not tell anyone that it is retired.
    if own.ensemble.is_some() && own.ensemble != hello.ensemble {
        return Err(Refusal::WrongEnsemble);
    }
    if known.retired {
        return Err(Refusal::Retired);
    }
    if hello.to != Some(own.member) || own.state.has_left() {
        return Err(Refusal::NotMe);
    }
    if known.pod.is_some_and(|pod| pod != hello.from_pod) {
        return Err(Refusal::WrongPod);
    }
    // Neither its votes nor its proposals are of use: it cannot apply what is agreed on.
    expect_apply_level(known.apply_level, hello.newest_apply_level).map_err(Refusal::TooOld)?;
    match own.ensemble {
        Some(_) => Ok(None),
        None if joins_by_itself => Ok(hello.ensemble),
        None => Err(Refusal::Blank),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENSEMBLE: EnsembleId = EnsembleId([1; 16]);

    fn identity(ensemble: Option<EnsembleId>) -> Identity {
        let state = if ensemble.is_some() { DiskState::Member } else { DiskState::Blank };
        Identity { ensemble, member: MemberId(1), incarnation: 1, state }
    }

    fn hello() -> Hello {
        Hello {
            kind: StreamKind::Append,
            ensemble: Some(ENSEMBLE),
            from: MemberId(2),
            from_pod: "prod-1".into(),
            from_incarnation: 1,
            newest_apply_level: 1,
            to: Some(MemberId(1)),
        }
    }

    const STRANGER: Known<'_> = Known { retired: false, pod: None, apply_level: 1 };

    #[test]
    fn a_member_of_the_same_ensemble_is_accepted_also_when_it_is_new_here() {
        assert!(matches!(judge(&hello(), &identity(Some(ENSEMBLE)), false, STRANGER), Ok(None)));
    }

    #[test]
    fn strangers_and_contradictions_are_refused() {
        let own = identity(Some(ENSEMBLE));
        let other = Hello { ensemble: Some(EnsembleId([2; 16])), ..hello() };
        assert!(matches!(judge(&other, &own, false, STRANGER), Err(Refusal::WrongEnsemble)));
        let lost = Hello { to: Some(MemberId(9)), ..hello() };
        assert!(matches!(judge(&lost, &own, false, STRANGER), Err(Refusal::NotMe)));
        let retired = Known { retired: true, ..STRANGER };
        assert!(matches!(judge(&hello(), &own, false, retired), Err(Refusal::Retired)));
        assert!(matches!(judge(&other, &own, false, retired), Err(Refusal::WrongEnsemble)));
        let elsewhere = Known { pod: Some("prod-2"), ..STRANGER };
        assert!(matches!(judge(&hello(), &own, false, elsewhere), Err(Refusal::WrongPod)));
    }

    #[test]
    fn a_version_that_cannot_apply_what_is_agreed_on_is_refused() {
        let own = identity(Some(ENSEMBLE));
        let raised = Known { apply_level: 2, ..STRANGER };
        assert!(matches!(judge(&hello(), &own, false, raised), Err(Refusal::TooOld(_))));
        let able = Hello { newest_apply_level: 2, ..hello() };
        assert!(matches!(judge(&able, &own, false, raised), Ok(None)));
    }

    #[test]
    fn a_blank_disk_joins_by_itself_only_without_an_operator() {
        assert!(matches!(judge(&hello(), &identity(None), false, STRANGER), Err(Refusal::Blank)));
        assert!(matches!(judge(&hello(), &identity(None), true, STRANGER), Ok(Some(ENSEMBLE))));
    }
}
