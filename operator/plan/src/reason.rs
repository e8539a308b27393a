//! Why nothing is done now, in words that a condition can carry.

use std::fmt;

use crate::EnsembleId;

/// What the plan waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// `spec.suspend` is set.
    Suspended,
    /// These members' admin API does not answer yet.
    PodsPending { ordinals: Vec<u32> },
    /// No leader's view, or only one older than what is known to have happened.
    NoLeader,
    /// New members are behind.
    CatchingUp { ordinals: Vec<u32> },
    /// Members that must be healthy before membership may change are not.
    NotInSync { ordinals: Vec<u32> },
    /// The PodDisruptionBudget's controller has not yet seen its new value.
    BudgetPending,
    /// This disk and the leader's membership do not agree on whether it is a member.
    MembershipUnclear { ordinal: u32 },
    /// A disk or claim belongs to another ensemble.
    IdentityConflict { ordinal: u32, found: EnsembleId, expected: Option<EnsembleId> },
    /// The first voter's disk was lost before the ensemble served anyone.
    SeedLost,
    /// Claims say that the ensemble has served clients, and every disk is blank.
    DataLost,
    /// The member's place is taken by another disk.
    DiskLost { ordinal: u32 },
    /// The disk was removed from the ensemble earlier, and the ensemble is not there to take it in anew.
    DiskRetired { ordinal: u32 },
    /// The disk cannot be read.
    DiskCorrupt { ordinal: u32 },
    /// The archive to be restored is being read.
    ArchivePending,
    /// The archive cannot be restored; nothing was started.
    ArchiveRefused,
    /// The archive is on its way to the first member's disk.
    Restoring,
    /// The archive is good, and did not get onto the disk.
    RestoreFailed,
    /// The StatefulSet does not carry the present pod template yet, or its controller has not taken note.
    TemplatePending,
    /// The pod was renewed, and its member is not back yet.
    Renewing { ordinal: u32 },
    /// The template of the spec failed on the first member, and the last good one was put back.
    CanaryFailed,
}

impl Reason {
    /// The CamelCase word for conditions, events and metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Suspended => "Suspended",
            Self::PodsPending { .. } => "PodsPending",
            Self::NoLeader => "NoLeader",
            Self::CatchingUp { .. } => "CatchingUp",
            Self::NotInSync { .. } => "NotInSync",
            Self::BudgetPending => "BudgetPending",
            Self::MembershipUnclear { .. } => "MembershipUnclear",
            Self::IdentityConflict { .. } => "IdentityConflict",
            Self::SeedLost => "SeedLost",
            Self::DataLost => "DataLost",
            Self::DiskLost { .. } => "DiskLost",
            Self::DiskRetired { .. } => "DiskRetired",
            Self::DiskCorrupt { .. } => "DiskCorrupt",
            Self::ArchivePending => "ArchivePending",
            Self::ArchiveRefused => "ArchiveRefused",
            Self::Restoring => "Restoring",
            Self::RestoreFailed => "RestoreFailed",
            Self::TemplatePending => "TemplatePending",
            Self::Renewing { .. } => "Renewing",
            Self::CanaryFailed => "CanaryFailed",
        }
    }

    /// Whether waiting alone can never end it: somebody has to do something.
    pub const fn needs_help(&self) -> bool {
        matches!(
            self,
            Self::IdentityConflict { .. }
                | Self::SeedLost
                | Self::DataLost
                | Self::DiskLost { .. }
                | Self::DiskRetired { .. }
                | Self::DiskCorrupt { .. }
                | Self::ArchiveRefused
                | Self::RestoreFailed
                | Self::CanaryFailed
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Suspended => formatter.write_str("spec.suspend is set: nothing is changed until it is false"),
            Self::PodsPending { ordinals } => write!(formatter, "waiting for {} to start", Pods(ordinals)),
            Self::NoLeader => formatter.write_str("waiting for the members to elect a leader"),
            Self::CatchingUp { ordinals } => write!(formatter, "waiting for {} to catch up", Pods(ordinals)),
            Self::NotInSync { ordinals } => {
                write!(formatter, "membership can change only when {} is up and in sync", Pods(ordinals))
            }
            Self::BudgetPending => formatter.write_str("waiting for the PodDisruptionBudget to take effect"),
            Self::MembershipUnclear { ordinal } => {
                write!(
                    formatter,
                    "volume {ordinal} and the leader do not agree on whether it is a member: waiting"
                )
            }
            Self::IdentityConflict { ordinal, found, expected } => {
                write!(formatter, "volume {ordinal} belongs to ensemble {found}")?;
                match expected {
                    Some(expected) => write!(formatter, ", this is ensemble {expected}")?,
                    None => formatter.write_str(", other volumes to another one")?,
                }
                formatter.write_str(": delete or rename the claims that do not belong here")
            }
            Self::SeedLost => formatter.write_str(
                "the first member's volume was lost before any client was served: delete this ZkEnsemble's claims and pods to start anew",
            ),
            Self::DataLost => formatter.write_str(
                "the claims belong to an ensemble that has served clients, but every volume is empty: restore the volumes, or delete the claims to start empty",
            ),
            Self::DiskLost { ordinal } => write!(
                formatter,
                "member {ordinal} came back with an empty volume: the others still serve; scale below it and up again to replace it"
            ),
            Self::DiskRetired { ordinal } => write!(
                formatter,
                "volume {ordinal} was retired when the ensemble was scaled down, and no volume of a present member is there to take it in anew: restore the lost volumes, or delete the claims to start empty"
            ),
            Self::DiskCorrupt { ordinal } => {
                write!(formatter, "volume {ordinal} cannot be read: its pod's log names file and offset")
            }
            Self::ArchivePending => formatter.write_str("reading the archive before anything is started"),
            Self::ArchiveRefused => formatter.write_str("the archive cannot be restored, and nothing was started"),
            Self::Restoring => formatter.write_str("waiting for the archive to be on the first member's volume"),
            Self::RestoreFailed => {
                formatter.write_str("the archive is good but did not get onto the first member's volume")
            }
            Self::TemplatePending => {
                formatter.write_str("waiting for the StatefulSet to take up the present pod template")
            }
            Self::Renewing { ordinal } => {
                write!(formatter, "waiting for member {ordinal} to be back, in sync and ready")
            }
            Self::CanaryFailed => formatter.write_str(
                "the first renewed member did not become ready, so the others were left alone and the last good template was put back: change the spec to try again",
            ),
        }
    }
}

struct Pods<'a>(&'a [u32]);

impl fmt::Display for Pods<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0.len() == 1 { "member " } else { "members " })?;
        for (position, ordinal) in self.0.iter().enumerate() {
            write!(formatter, "{}{ordinal}", if position == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}
