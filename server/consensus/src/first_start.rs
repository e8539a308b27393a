//! How an ensemble comes to be where there is no operator: from a zoo.cfg with `server.N` lines, or alone.
//!
//! A lone server initialises at once. Of several, the one with the lowest number does, and only after *every* other one
//! answered that its disk is blank; their ids come from those answers. The others join by themselves when the
//! new ensemble's leader calls them by the id of their disk. A crash in the middle heals itself: ids and the
//! ensemble's id are on disk before they are told to anyone.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use openraft::AsyncRuntime;
use zke_storage::Identity;
use zke_tree::{EnsembleId, MemberId};

use crate::administration::AdminError;
use crate::codec::{DecodeError, Decoder, put_blob, put_ensemble};
use crate::ensemble::{Ensemble, Inner};
use crate::types::PeerNode;

/// Between two rounds of asking the other servers whether they are blank.
const PROBE_INTERVAL: Duration = Duration::from_millis(500);
const PROBE_DEADLINE: Duration = Duration::from_secs(1);
/// A server that waits to be called looks why nobody calls it only in each tenth round: five seconds, far longer than the
/// others take to begin.
const ROUNDS_PER_LOOK: u64 = 10;

/// What a disk says of itself when it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeAnswer {
    pub member: MemberId,
    pub ensemble: Option<EnsembleId>,
    /// What the process calls itself.
    pub pod: String,
}

impl ProbeAnswer {
    pub(crate) fn of(identity: &Identity, pod: &str) -> ProbeAnswer {
        ProbeAnswer { member: identity.member, ensemble: identity.ensemble, pod: pod.to_owned() }
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(24);
        out.put_u64(self.member.0);
        put_ensemble(&mut out, self.ensemble);
        put_blob(&mut out, self.pod.as_bytes());
        out.freeze()
    }

    pub(crate) fn decode(bytes: Bytes) -> Result<ProbeAnswer, DecodeError> {
        let mut decoder = Decoder::new(bytes, "probe answer");
        let member = MemberId(decoder.u64()?);
        let ensemble = decoder.ensemble()?;
        let pod = decoder.string()?;
        decoder.end()?;
        Ok(ProbeAnswer { member, ensemble, pod })
    }
}

impl<R: AsyncRuntime> Ensemble<R> {
    /// Brings this disk into an ensemble if it is blank: alone when `others` is empty; with all of them when this is the
    /// lowest of them; else by waiting to be called. Returns when this disk has an ensemble.
    ///
    /// `fresh_ensemble` is random; `own_address` is how the others reach this member.
    pub async fn first_start(
        &self,
        fresh_ensemble: EnsembleId,
        own_address: String,
        others: Vec<PeerNode>,
        lowest: bool,
    ) -> Result<(), AdminError> {
        let member = &self.inner.member;
        let me = member.id();
        let own = PeerNode { pod: member.pod().to_owned(), address: own_address };
        let mut told = None;
        let mut rounds = 0_u64;
        loop {
            let identity = member.identity();
            let settled = identity.ensemble.is_some()
                && (!lowest
                    || self
                        .inner
                        .raft
                        .is_initialized()
                        .await
                        .map_err(|e| AdminError::Failed(Box::new(e)))?);
            if settled {
                return Ok(());
            }
            rounds += 1;
            let reason = if lowest {
                match self.blank_voters(me, &own, &others, identity.ensemble).await {
                    Ok(voters) => {
                        let ensemble = identity.ensemble.unwrap_or(fresh_ensemble);
                        return self.initialize(ensemble, me, voters).await;
                    }
                    Err(reason) => Some(reason),
                }
            } else if rounds.is_multiple_of(ROUNDS_PER_LOOK) {
                self.why_nobody_calls(&own, &others).await
            } else {
                None
            };
            if reason.is_some() && told != reason {
                tracing::info!(reason, "waiting to become a member");
                told = reason;
            }
            R::sleep(PROBE_INTERVAL).await;
        }
    }

    /// Says that an ensemble goes on without this disk, if one does.
    async fn why_nobody_calls(&self, own: &PeerNode, others: &[PeerNode]) -> Option<String> {
        for other in others {
            if self.inner.probe(other).await.is_ok_and(|answer| answer.ensemble.is_some()) {
                return Some(goes_on_without(own, other));
            }
        }
        None
    }

    /// All voters of the new ensemble, or which server is not ready for it. One that already carries the ensemble of
    /// an earlier, interrupted attempt of this disk counts as blank.
    async fn blank_voters(
        &self,
        me: MemberId,
        own: &PeerNode,
        others: &[PeerNode],
        attempted: Option<EnsembleId>,
    ) -> Result<BTreeMap<MemberId, PeerNode>, String> {
        let mut voters = BTreeMap::from([(me, own.clone())]);
        for other in others {
            let answer =
                self.inner.probe(other).await.map_err(|error| format!("{other} does not answer: {error}"))?;
            if answer.ensemble.is_some() && answer.ensemble != attempted {
                return Err(goes_on_without(own, other));
            }
            voters.insert(answer.member, other.clone());
        }
        if voters.len() == others.len() + 1 {
            return Ok(voters);
        }
        Err("two servers answered with the same member id: a data directory was copied".to_owned())
    }
}

fn goes_on_without(own: &PeerNode, other: &PeerNode) -> String {
    let number = own.pod.trim_start_matches("server.");
    format!(
        "this disk is blank, and {other} has an ensemble already: bring this server's data back; or have the server \
         brought in with a blank disk, by `reconfig -add` and its line, behind `reconfig -remove {number}` if it was a member"
    )
}

impl<R: AsyncRuntime> Inner<R> {
    /// Asks another server's disk what it holds.
    pub(crate) async fn probe(&self, to: &PeerNode) -> io::Result<ProbeAnswer> {
        let call = async {
            let stream = self.transport.open(to.clone(), self.member.probe_hello()).await?;
            stream.call(Bytes::new()).await
        };
        let answer = R::timeout(PROBE_DEADLINE, call).await;
        let answer = answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        ProbeAnswer::decode(answer).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_answer_survives_its_encoding() {
        for ensemble in [None, Some(EnsembleId([3; 16]))] {
            let answer = ProbeAnswer { member: MemberId(u64::MAX), ensemble, pod: "server.3".to_owned() };
            assert_eq!(ProbeAnswer::decode(answer.encode()).expect("own encoding"), answer);
        }
    }
}
