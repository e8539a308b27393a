//! A new ensemble that begins with the data of an archive.
//!
//! The archive is read to its end, checked, and turned into a state before anything is written. What is durable in
//! which order is storage's: a crash at any moment leaves a blank disk, or one that is a member at its next start.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use openraft::AsyncRuntime;
use zke_storage::{ArchiveReader, Disk, DiskState, Identity, SnapshotStore};
use zke_tree::{EnsembleId, MemberId, State};

use crate::administration::{AdminError, failed, precondition};
use crate::ensemble::Ensemble;
use crate::snapshots::{self, Snapshots};
use crate::types::{PeerNode, RaftMembership, RaftSnapshotMeta, RaftStoredMembership, log_id};
use crate::worker::Worker;

/// What is to become of a blank disk.
#[derive(Clone, Debug)]
pub struct Restoration {
    /// Of the new ensemble; chosen by the caller and remembered before the call.
    pub ensemble: EnsembleId,
    /// How other members reach this one.
    pub address: String,
    /// The highest epoch or term that is known from anywhere besides the archive.
    pub epoch_above: u64,
}

impl<R: AsyncRuntime> Ensemble<R> {
    /// Makes this blank disk the sole voter of a new ensemble with the data of `archive`, which lets no clients in
    /// yet. The process restarts and is that member then. Repeating it for the same ensemble changes nothing.
    pub async fn restore(
        &self,
        expect: MemberId,
        asked: Restoration,
        archive: impl Read + Send + 'static,
    ) -> Result<(), AdminError> {
        let inner = &self.inner;
        inner.expect_member(expect)?;
        let Restoration { ensemble, address, epoch_above } = asked;
        match inner.member.identity() {
            Identity { ensemble: None, state: DiskState::Blank, .. } => {}
            Identity { state: DiskState::Restoring, ensemble: Some(own), .. } if own == ensemble => {
                return Ok(());
            }
            Identity { state: DiskState::Member, ensemble: Some(own), .. }
                if own == ensemble && inner.membership().get_node(&expect.0).is_some() =>
            {
                return Ok(());
            }
            _ => return Err(precondition("this disk is not blank; restore into an empty one")),
        }
        let turn = inner.archive_turn()?;
        let node = PeerNode { pod: inner.member.pod().to_owned(), address };
        let snapshots = inner.snapshots.clone();
        let stage = move || stage(&snapshots, archive, expect, node, epoch_above);
        inner.snapshots.worker().run(stage).await.map_err(failed)??;
        drop(turn);
        inner.member.adopt(ensemble, DiskState::Restoring)?;
        if inner.member.identity().state != DiskState::Restoring {
            return Err(precondition("this disk was brought into that ensemble in another way meanwhile"));
        }
        inner.restart.notify_one();
        Ok(())
    }
}

/// Does the same without a process that serves: makes an empty `disk` that of a server with the data of `archive`,
/// alone in its ensemble. Returns the id that `fresh_member_id` became.
///
/// After an error the disk holds nothing that counts.
pub fn restore_offline<D: Disk>(
    disk: &D,
    segment_bytes: u64,
    pod: &str,
    fresh_member_id: u64,
    asked: Restoration,
    archive: impl Read,
) -> Result<MemberId, AdminError> {
    let storage = |error| AdminError::Failed(Box::new(error));
    let Restoration { ensemble, address, epoch_above } = asked;
    let store = SnapshotStore::open(disk.clone(), snapshots::KEEP).map_err(storage)?;
    let node = PeerNode { pod: pod.to_owned(), address };
    let member = MemberId(fresh_member_id);
    let snapshots = Snapshots::new(store.clone(), Worker::Inline, Worker::Inline);
    stage(&snapshots, archive, member, node, epoch_above)?;
    let identity = Identity { ensemble: Some(ensemble), member, incarnation: 0, state: DiskState::Restoring };
    identity.save(disk).map_err(storage)?;
    identity.finish_restoration(&store, disk, disk, segment_bytes).map_err(storage)?;
    Ok(member)
}

fn stage(
    snapshots: &Snapshots,
    archive: impl Read,
    member: MemberId,
    node: PeerNode,
    epoch_above: u64,
) -> Result<(), AdminError> {
    let mut state = read(archive).map_err(AdminError::Archive)?;
    state.begin_anew(epoch_above).map_err(|error| AdminError::Archive(io::Error::other(error)))?;
    let (index, term) = state.applied();
    let last = log_id(term.0, index.0);
    let voters = BTreeSet::from([member.0]);
    let membership = RaftMembership::new(vec![voters], BTreeMap::from([(member.0, node)])).map_err(failed)?;
    let last_membership = RaftStoredMembership::new(Some(last), membership);
    let meta = RaftSnapshotMeta { last_log_id: Some(last), last_membership };
    snapshots.stage(&meta, state).map_err(failed)
}

/// Everything that can be wrong with an archive shows here.
fn read(archive: impl Read) -> io::Result<State> {
    let mut archive = ArchiveReader::open(archive, "the archive").map_err(io::Error::other)?;
    let header = archive.header().clone();
    let state = snapshots::restore(&mut archive)?;
    let (index, term) = state.applied();
    if (header.zxid, header.last.index, header.last.term) != (state.last_zxid(), index.0, term.0) {
        return Err(io::Error::other("its header tells of another state than its content"));
    }
    Ok(state)
}
