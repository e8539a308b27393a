//! One log entry of ours: consecutive commands of one origin, and the leader's time.

use bytes::{BufMut, Bytes, BytesMut};

use crate::codec::{Malformed, Put, Reader};
use crate::command::Command;
use crate::ids::{MemberId, Origin};

/// The first byte of every encoded proposal.
const VERSION: u8 = 2;
/// The one before, which had no settings; logs may hold it.
const VERSION_WITHOUT_SETTINGS: u8 = 1;
/// Where the leader stamps its time: right behind the version, so that it need not encode anew.
const TIME_OFFSET: usize = 1;
/// Where it stamps its settings, behind the time.
const SETTINGS_OFFSET: usize = TIME_OFFSET + size_of::<i64>();

/// Consecutive commands of one origin. The command at place `i` has the sequence number `first_sequence + i`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The leader's wall clock in ms since the Unix epoch. Apply clamps it, so that time never falls.
    pub time_ms: i64,
    /// The leader's.
    pub settings: Settings,
    pub origin: Origin,
    /// At least 1: a mark of 0 means that nothing was applied yet.
    pub first_sequence: u64,
    pub commands: Vec<Command>,
}

impl Proposal {
    pub fn encode(&self) -> Bytes {
        // Most commands are small writes; a batch of them grows the buffer a few times at most.
        let mut out = BytesMut::with_capacity(64 + 128 * self.commands.len());
        out.put_u8(VERSION);
        out.put_i64(self.time_ms);
        out.put_u8(self.settings.bits());
        out.put_u64(self.origin.member.0);
        out.put_u64(self.origin.incarnation);
        out.put_u64(self.first_sequence);
        out.put_varint(self.commands.len() as u64);
        for command in &self.commands {
            command.write(&mut out);
        }
        out.freeze()
    }

    /// Data of the commands are slices of `encoded`, not copies.
    ///
    /// # Errors
    /// [`CorruptProposal`] for anything that [`Proposal::encode`] of this version or an older one cannot have written.
    pub fn decode(encoded: Bytes) -> Result<Proposal, CorruptProposal> {
        Self::read(&mut Reader::new(encoded)).map_err(CorruptProposal::from)
    }

    /// Puts the leader's time and settings into an encoded proposal.
    ///
    /// # Errors
    /// [`CorruptProposal`] if it is too short, or of an unknown version, which could have them elsewhere.
    pub fn stamp(encoded: &mut BytesMut, time_ms: i64, settings: Settings) -> Result<(), CorruptProposal> {
        let version = encoded.first().copied();
        if !matches!(version, Some(VERSION | VERSION_WITHOUT_SETTINGS)) {
            return Err(CorruptProposal { what: "version", offset: 0 });
        }
        let time = encoded.get_mut(TIME_OFFSET..SETTINGS_OFFSET);
        let time = time.ok_or(CorruptProposal { what: "time", offset: TIME_OFFSET })?;
        time.copy_from_slice(&time_ms.to_be_bytes());
        if version == Some(VERSION) {
            let bits = encoded.get_mut(SETTINGS_OFFSET);
            *bits.ok_or(CorruptProposal { what: "settings", offset: SETTINGS_OFFSET })? = settings.bits();
        }
        Ok(())
    }

    fn read(from: &mut Reader) -> Result<Proposal, Malformed> {
        let version = from.u8("version")?;
        if !matches!(version, VERSION | VERSION_WITHOUT_SETTINGS) {
            return Err(from.malformed("unknown version"));
        }
        let time_ms = from.i64("time")?;
        let settings = match version {
            VERSION => Settings::from_bits(from.u8("settings")?).ok_or_else(|| from.malformed("settings"))?,
            _ => Settings::default(),
        };
        let origin = Origin { member: MemberId(from.u64("member")?), incarnation: from.u64("incarnation")? };
        let first_sequence = from.u64("first sequence")?;
        let count = from.count(1, "commands")?;
        if first_sequence == 0 || first_sequence.checked_add(count as u64).is_none() {
            return Err(from.malformed("first sequence"));
        }
        let commands = (0..count).map(|_| Command::read(from)).collect::<Result<_, _>>()?;
        from.finish()?;
        Ok(Proposal { time_ms, settings, origin, first_sequence, commands })
    }
}

/// Settings of the leader that change results. They travel with each entry, so that all members apply it alike,
/// whatever their own configuration says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// ZooKeeper's `enforceQuota`: hard limits refuse writes.
    pub enforce_quota: bool,
    /// ZooKeeper's `reconfigEnabled`: clients may change the ensemble.
    pub reconfig_enabled: bool,
    /// The opposite of ZooKeeper's `standaloneEnabled`: reconfig may leave a single voter.
    pub single_voter_allowed: bool,
}

impl Settings {
    const ENFORCE_QUOTA: u8 = 1;
    const RECONFIG_ENABLED: u8 = 2;
    const SINGLE_VOTER_ALLOWED: u8 = 4;
    const KNOWN: u8 = Self::ENFORCE_QUOTA | Self::RECONFIG_ENABLED | Self::SINGLE_VOTER_ALLOWED;

    fn bits(self) -> u8 {
        let bit = |is_set, bit| if is_set { bit } else { 0 };
        bit(self.enforce_quota, Self::ENFORCE_QUOTA)
            | bit(self.reconfig_enabled, Self::RECONFIG_ENABLED)
            | bit(self.single_voter_allowed, Self::SINGLE_VOTER_ALLOWED)
    }

    /// `None` if there are settings among them that this version does not know: it could not apply the entry.
    fn from_bits(bits: u8) -> Option<Self> {
        let is_set = |bit| bits & bit != 0;
        (bits & !Self::KNOWN == 0).then_some(Self {
            enforce_quota: is_set(Self::ENFORCE_QUOTA),
            reconfig_enabled: is_set(Self::RECONFIG_ENABLED),
            single_voter_allowed: is_set(Self::SINGLE_VOTER_ALLOWED),
        })
    }
}

/// The bytes are no proposal that this version can read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("decode a proposal: bad {what} before byte {offset}")]
pub struct CorruptProposal {
    pub what: &'static str,
    pub offset: usize,
}

impl From<Malformed> for CorruptProposal {
    fn from(Malformed { what, offset }: Malformed) -> Self {
        Self { what, offset }
    }
}
