//! Room on this member's volumes, and what the ensemble does when there is little.
//!
//! Each member keeps the reserve of its log whole and tells its leader when it cannot, or when its next snapshot would not
//! fit. A leader that is low itself, or has no quorum that is not, refuses what would grow the tree, each write with an
//! error in its place in the order; deletes, ends of sessions and all else go on. A member that had to spend of its
//! reserve takes a snapshot and purges its log, which is what frees segments.
//!
//! Nothing here makes a promise hold: a volume may still be filled by others in no time, and then the log waits.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use openraft::AsyncRuntime;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::Notify;
use zke_storage::{Disk, Reserve, SnapshotStore, StorageError};
use zke_tree::{Command, CorruptProposal, MemberId, Proposal, State};
use zke_wire::ErrorCode;

use crate::ensemble::Inner;
use crate::link_frame::ToLeader;
use crate::worker::Worker;

/// How often the volumes are looked at. In that time a fast disk takes about as much as the reserve holds.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// A member that lives on its reserve takes a snapshot after so many looks, so that large states are not written all
/// the time: five seconds.
const LOOKS_PER_SNAPSHOT: u32 = 10;
/// A volume with less than this part of a segment left is all but full, whatever the next snapshot takes: 16 MiB, for
/// the small files of a member and for what others write there.
const SMALL_PART: u64 = 4;
/// What a client is told. ZooKeeper has no code for it; clients know this one as "there is no more room for you".
const REFUSED: ErrorCode = ErrorCode::QuotaExceeded;

/// What this member knows of its volumes.
#[derive(Debug, Default)]
pub(crate) struct Space {
    low: AtomicBool,
    /// For snapshots, at the last look; 0 before the first.
    available_bytes: AtomicU64,
    /// The link to the leader hears of a change.
    changed: Notify,
    /// Writes refused while this member led.
    refused: AtomicU64,
}

impl Space {
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(crate) fn report(&self) -> ToLeader {
        ToLeader::Space { low: self.low.load(Relaxed) }
    }

    pub(crate) fn available_bytes(&self) -> u64 {
        self.available_bytes.load(Relaxed)
    }

    pub(crate) fn is_low(&self) -> bool {
        self.low.load(Relaxed)
    }

    pub(crate) fn count_refused(&self, refused: usize) {
        self.refused.fetch_add(refused as u64, Relaxed);
    }

    /// How many writes were refused so far.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Whether it is another than before.
    fn set_low(&self, low: bool) -> bool {
        let before = self.low.swap(low, Relaxed);
        if before != low {
            self.changed.notify_one();
        }
        before != low
    }
}

/// One look at the volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    reserve_is_whole: bool,
    /// For snapshots, in bytes.
    available: u64,
    /// By the next snapshot, in bytes.
    wanted: u64,
}

impl Room {
    fn is_low(self) -> bool {
        !self.reserve_is_whole || self.available < self.wanted
    }
}

/// Looks, and mends what can be mended.
pub(crate) type Look = Arc<dyn Fn() -> Result<Room, StorageError> + Send + Sync>;

pub(crate) fn look_at<D: Disk>(disk: D, snapshots: SnapshotStore<D>, reserve: Reserve<D>) -> Look {
    Arc::new(move || {
        let reserve_is_whole = reserve.fill()?;
        let available = disk.available_bytes();
        let available =
            available.map_err(|e| StorageError::io("ask for room in", "the data directory", e))?;
        let wanted = snapshots.wanted_bytes()?.max(reserve.segment_bytes() / SMALL_PART);
        Ok(Room { reserve_is_whole, available, wanted })
    })
}

/// Whether a leader refuses growth, where `low` have told that they are.
pub(crate) fn refuses_growth(
    leader: MemberId,
    voters: &BTreeSet<MemberId>,
    low: &BTreeSet<MemberId>,
) -> bool {
    let with_room = voters.difference(low).count();
    low.contains(&leader) || 2 * with_room <= voters.len()
}

/// The batch without what would grow `state`: refusals have their places. And how many they are.
pub(crate) fn refuse_growth(batch: Bytes, state: &State) -> Result<(Bytes, usize), CorruptProposal> {
    let mut proposal = Proposal::decode(batch.clone())?;
    let mut refused = 0;
    for command in proposal.commands.iter_mut().filter(|command| state.would_grow(command)) {
        *command = Command::Refused { code: REFUSED };
        refused += 1;
    }
    Ok((if refused == 0 { batch } else { proposal.encode() }, refused))
}

impl<R: AsyncRuntime> Inner<R> {
    /// Runs for the life of the process.
    pub(crate) async fn run_space(self: Arc<Self>, look: Look, worker: Worker) {
        let (mut looks, mut failed) = (0_u32, false);
        while !self.is_stopping() {
            let looking = look.clone();
            let looked = worker.run(move || looking()).await;
            match looked {
                Ok(Ok(room)) => {
                    failed = false;
                    self.space.available_bytes.store(room.available, Relaxed);
                    if self.space.set_low(room.is_low()) {
                        say_low(room);
                        looks = 0;
                    }
                    if !room.reserve_is_whole && looks.is_multiple_of(LOOKS_PER_SNAPSHOT) {
                        self.free_segments().await;
                    }
                    looks = looks.wrapping_add(1);
                }
                Ok(Err(error)) if !failed => {
                    failed = true;
                    tracing::warn!(%error, "cannot see how much room the volumes have");
                }
                Ok(Err(_)) => {}
                Err(error) => {
                    tracing::error!(%error, "looks at the volumes no more");
                    return;
                }
            }
            R::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Purges what the newest snapshot holds, and asks for another if it is of an earlier state.
    async fn free_segments(&self) {
        let (applied, snapshot) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            (metrics.last_applied, metrics.snapshot)
        };
        let raft = self.raft.trigger();
        let asked = async {
            if let Some(snapshot) = snapshot {
                raft.purge_log(snapshot.index).await?;
            }
            if applied > snapshot {
                raft.snapshot().await?;
            }
            Ok::<_, openraft::errors::Fatal<_>>(())
        };
        if asked.await.is_err() {
            // Whoever waits for failures of Raft ends the process.
            tracing::debug!("Raft has stopped: it frees no segments");
        }
    }
}

fn say_low(room: Room) {
    if room.is_low() {
        tracing::error!(
            available_bytes = room.available,
            reserve_is_whole = room.reserve_is_whole,
            "little room on the volume: once this member leads, or a majority is in want, writes that grow the tree are \
             refused; enlarge the volume, or free some of it"
        );
    } else {
        tracing::info!("the volume has room again");
    }
}

#[cfg(test)]
mod tests {
    use zke_tree::{Origin, Settings, WriteOp};
    use zke_wire::SessionId;

    use super::*;

    fn members(ids: &[u64]) -> BTreeSet<MemberId> {
        ids.iter().copied().map(MemberId).collect()
    }

    #[test]
    fn growth_is_refused_by_a_low_leader_and_without_a_quorum_that_has_room() {
        let voters = members(&[1, 2, 3]);
        for (low, refuses) in [
            (&[][..], false),
            (&[2], false),
            (&[1], true),
            (&[2, 3], true),
            // One that learns counts for nothing.
            (&[2, 9], false),
            (&[1, 2, 3], true),
        ] {
            assert_eq!(refuses_growth(MemberId(1), &voters, &members(low)), refuses, "{low:?}");
        }
        assert!(refuses_growth(MemberId(1), &members(&[1]), &members(&[1])));
        assert!(!refuses_growth(MemberId(1), &members(&[1]), &members(&[])));
    }

    #[test]
    fn refusals_take_the_places_of_what_they_refuse() {
        let client =
            |op| Command::Client { session: SessionId(1), attach_epoch: 1, identities: Vec::new(), op };
        let delete = client(WriteOp::Delete { path: "/a".to_owned(), version: -1 });
        let container =
            WriteOp::CreateContainer { path: "/b".to_owned(), data: None, acl: Vec::new(), flags: 4 };
        let of = |commands| Proposal {
            time_ms: 0,
            settings: Settings::default(),
            origin: Origin { member: MemberId(7), incarnation: 2 },
            first_sequence: 5,
            commands,
        };
        let state = State::new();
        let batch = of(vec![delete.clone(), client(container), delete.clone()]).encode();
        let (refused, count) = refuse_growth(batch, &state).expect("own encoding");
        let expected = of(vec![delete.clone(), Command::Refused { code: REFUSED }, delete.clone()]);
        assert_eq!((Proposal::decode(refused).expect("own encoding"), count), (expected, 1));

        let batch = of(vec![delete]).encode();
        assert_eq!(refuse_growth(batch.clone(), &state).expect("own encoding"), (batch, 0));
        assert!(refuse_growth(Bytes::from_static(b"?"), &state).is_err());
    }

    #[test]
    fn room_is_low_without_the_reserve_or_the_next_snapshot() {
        let room = Room { reserve_is_whole: true, available: 10, wanted: 10 };
        assert!(!room.is_low());
        assert!(Room { wanted: 11, ..room }.is_low());
        assert!(Room { reserve_is_whole: false, ..room }.is_low());
    }
}
