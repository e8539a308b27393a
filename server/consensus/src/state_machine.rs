//! The replica as openraft sees it: entries in, snapshots out and in.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use openraft::impls::EntryPayload;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{AsyncRuntime, OptionalSend};
use zke_storage::StorageError;

use crate::replica::Replica;
use crate::snapshots::{RaftSnapshot, SnapshotHandle, Snapshots};
use crate::solitude::Solitude;
use crate::types::{RaftEntry, RaftLogId, RaftSnapshotMeta, RaftStoredMembership, TypeConfig};
use crate::worker::Worker;

/// Entries applied in one go on the apply thread. openraft hands over what is committed; this only bounds how long a
/// request for a snapshot waits.
const APPLY_ENTRIES_MAX: usize = 256;

/// How long a snapshot that found no space waits. Each attempt writes until the volume is full again.
const FULL_INTERVAL: Duration = Duration::from_secs(5);

pub struct StateMachine {
    replica: Arc<Replica>,
    snapshots: Arc<Snapshots>,
    apply: Worker,
    solitude: Arc<Solitude>,
}

impl StateMachine {
    pub(crate) fn new(
        replica: Arc<Replica>,
        snapshots: Arc<Snapshots>,
        apply: Worker,
        solitude: Arc<Solitude>,
    ) -> StateMachine {
        StateMachine { replica, snapshots, apply, solitude }
    }
}

impl<R: AsyncRuntime> RaftStateMachine<TypeConfig<R>> for StateMachine {
    type SnapshotData = SnapshotHandle;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<RaftLogId>, RaftStoredMembership)> {
        Ok(self.replica.applied())
    }

    async fn apply<S>(&mut self, entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig<R>>>> + Unpin + OptionalSend,
    {
        let mut chunks = entries.ready_chunks(APPLY_ENTRIES_MAX);
        while let Some(chunk) = chunks.next().await {
            let (entries, responders): (Vec<_>, Vec<_>) =
                chunk.into_iter().collect::<io::Result<Vec<_>>>()?.into_iter().unzip();
            #[cfg(feature = "fault")]
            let entries = crate::fault::to_apply(entries);
            let replica = self.replica.clone();
            let here = self.solitude.takes(entries.iter().map(bytes_of));
            let apply = move || entries.into_iter().try_for_each(|entry| replica.apply(entry));
            if here {
                apply()?;
            } else {
                self.apply.run(apply).await??;
            }
            responders.into_iter().flatten().for_each(|responder| responder.send(()));
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder { replica: self.replica.clone(), snapshots: self.snapshots.clone() }
    }

    async fn install_snapshot(
        &mut self,
        meta: &RaftSnapshotMeta,
        snapshot: SnapshotHandle,
    ) -> io::Result<()> {
        let (replica, meta) = (self.replica.clone(), meta.clone());
        let install = move || {
            let state = snapshot.load()?;
            replica.expect_level(state.apply_level())?;
            replica.replace(state, (meta.last_log_id, meta.last_membership));
            Ok(())
        };
        self.apply.run(install).await?
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<RaftSnapshot>> {
        self.snapshots.current()
    }
}

fn bytes_of(entry: &RaftEntry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(payload) => payload.0.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    }
}

/// Writes a snapshot while entries go on being applied.
pub struct Builder {
    replica: Arc<Replica>,
    snapshots: Arc<Snapshots>,
}

impl<R: AsyncRuntime> RaftSnapshotBuilder<TypeConfig<R>> for Builder {
    type SnapshotData = SnapshotHandle;

    async fn build_snapshot(&mut self) -> io::Result<RaftSnapshot> {
        loop {
            let built = self.snapshots.build(self.replica.clone()).await;
            match built {
                // What was begun is removed by now, and the next one is of a newer state. Any error would end Raft.
                Err(error) if is_full(&error) => {
                    tracing::warn!(%error, "no space for a snapshot: removing the older ones, and trying again");
                    self.snapshots.keep_newest_only().await?;
                    R::sleep(FULL_INTERVAL).await;
                }
                built => return built,
            }
        }
    }
}

/// Whether there was no room on the volume. Errors of storage come wrapped, by it and by those who write through it.
fn is_full(error: &io::Error) -> bool {
    if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        return true;
    }
    let Some(inner) = error.get_ref() else { return false };
    inner.downcast_ref::<StorageError>().is_some_and(StorageError::is_full)
        || inner.downcast_ref::<io::Error>().is_some_and(is_full)
}

#[cfg(test)]
mod tests {
    use zke_storage::{LogId, SimDisk, SnapshotFingerprint, SnapshotStore};

    use super::*;

    #[test]
    fn a_full_volume_is_known_by_its_error() {
        let disk = SimDisk::new(1);
        disk.set_capacity_bytes(4);
        let store = SnapshotStore::open(disk, 1).expect("an empty disk");
        let of = SnapshotFingerprint { last: LogId { term: 1, index: 1 }, file_bytes: 100, crc: 0 };
        let mut receiver = store.receive(of).expect("a name takes no space here");
        let mut failure = |bytes| io::Error::other(receiver.write(bytes).expect_err("it does not fit"));
        assert!(is_full(&failure(b"more than it holds")));
        assert!(!is_full(&failure(b"")), "it had failed");
    }
}
