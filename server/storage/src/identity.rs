//! Who this disk is: the first file on it, and the only one that says whether others must be there.
//!
//! A member id is minted once per disk and is durable before anyone hears of it, so no id ever names two logs. The
//! file is replaced as a whole, never written in place. A directory that holds a log or snapshots but no identity has
//! lost it, and is never taken for an empty one.

use zke_tree::{EnsembleId, MemberId};

use crate::codec::{Fields, put_option};
use crate::disk::{read_file, replace_file};
use crate::{Disk, StorageError, log, snapshot};

const FILE: &str = "identity";
const MAGIC: [u8; 8] = *b"zke-id\n\0";
const VERSION: u8 = 1;
const BYTES_MAX: usize = 256;

/// What is known of this disk. Changes are durable once [`Identity::save`] returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `None` until the disk takes part in an ensemble.
    pub ensemble: Option<EnsembleId>,
    pub member: MemberId,
    /// How many times a process began to use the disk.
    pub incarnation: u64,
    pub state: DiskState,
}

/// How far this disk is in the life of an ensemble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskState {
    /// Takes no part in any ensemble; it may hold a log without entries.
    Blank,
    /// Told to join one. From here on the log must be there.
    Joining,
    Member,
    /// Removed from its ensemble for good: its id is not used again.
    Retired,
    /// Retired, and asked to begin anew: at its next start it becomes blank under another id.
    Renewing,
    /// Told to begin an ensemble with the staged snapshot: at its next start it is a member.
    Restoring,
    /// A majority of its ensemble agreed on another state than this member had: nothing is served from it again.
    Diverged,
}

impl Identity {
    /// Reads the identity of `disk`, or gives it one with the member id that `fresh_id` returns, which must be random:
    /// ids are never used twice.
    pub fn load_or_mint(disk: &impl Disk, fresh_id: impl FnOnce() -> u64) -> Result<Identity, StorageError> {
        if let Some(identity) = Identity::load(disk)? {
            return Ok(identity);
        }
        let names = disk.list().map_err(|e| StorageError::io("list", "the data directory", e))?;
        if names.iter().any(|name| log::is_segment(name) || snapshot::is_snapshot(name)) {
            return Err(StorageError::Missing { file: FILE.to_owned() });
        }
        let member = MemberId(fresh_id());
        let identity = Identity { ensemble: None, member, incarnation: 0, state: DiskState::Blank };
        identity.save(disk)?;
        Ok(identity)
    }

    /// Reads the identity of `disk`; `None` when it has none.
    pub fn load(disk: &impl Disk) -> Result<Option<Identity>, StorageError> {
        let Some(content) = read_file(disk, FILE, BYTES_MAX)? else { return Ok(None) };
        let corrupt = |what: &str| StorageError::corrupt(FILE, 0, what);
        let mut fields = Fields(&content);
        let (Some(MAGIC), Some(version)) = (fields.array(), fields.u8()) else {
            return Err(corrupt("this is no identity of a disk"));
        };
        // Before the checksum: a newer version may have it elsewhere.
        if version > VERSION {
            return Err(StorageError::Version { file: FILE.to_owned(), found: version, supported: VERSION });
        }
        let (body, crc) = content.split_last_chunk::<4>().ok_or_else(|| corrupt("the file is too short"))?;
        if crc32c::crc32c(body).to_le_bytes() != *crc {
            return Err(corrupt("the checksum is wrong"));
        }
        let identity = decode(&body[MAGIC.len() + 1..]).ok_or_else(|| corrupt("a field is malformed"))?;
        Ok(Some(identity))
    }

    /// Makes this the identity of `disk`, durable when it returns.
    pub fn save(&self, disk: &impl Disk) -> Result<(), StorageError> {
        let mut content = MAGIC.to_vec();
        content.push(VERSION);
        content.push(self.state.code());
        content.extend_from_slice(&self.member.0.to_le_bytes());
        content.extend_from_slice(&self.incarnation.to_le_bytes());
        put_option(&mut content, self.ensemble, |out, ensemble| out.extend_from_slice(&ensemble.0));
        let crc = crc32c::crc32c(&content);
        content.extend_from_slice(&crc.to_le_bytes());
        replace_file(disk, FILE, &content)
    }

    /// To be called once by each process before it uses the disk: what it numbers under its incarnation can then
    /// never be taken for what an earlier process numbered. Durable when it returns.
    pub fn begin_incarnation(&mut self, disk: &impl Disk) -> Result<(), StorageError> {
        self.incarnation += 1;
        self.save(disk)
    }

    /// # Errors
    /// If the state on this disk is known to be wrong.
    pub fn expect_agreement(&self) -> Result<(), StorageError> {
        let what =
            "a majority of the ensemble has another state than this disk: replace it with an empty one";
        if self.state == DiskState::Diverged { Err(StorageError::corrupt(FILE, 0, what)) } else { Ok(()) }
    }

    /// Whether a log must be there already: for [`crate::LogOptions::must_exist`].
    pub fn has_log(&self) -> bool {
        self.state != DiskState::Blank
    }
}

impl DiskState {
    /// Whether the disk has left its ensemble for good.
    pub fn has_left(self) -> bool {
        matches!(self, DiskState::Retired | DiskState::Renewing)
    }

    fn code(self) -> u8 {
        match self {
            DiskState::Blank => 0,
            DiskState::Joining => 1,
            DiskState::Member => 2,
            DiskState::Retired => 3,
            DiskState::Renewing => 4,
            DiskState::Restoring => 5,
            DiskState::Diverged => 6,
        }
    }

    fn from_code(code: u8) -> Option<DiskState> {
        use DiskState::{Blank, Diverged, Joining, Member, Renewing, Restoring, Retired};
        let all = [Blank, Joining, Member, Retired, Renewing, Restoring, Diverged];
        all.into_iter().find(|state| state.code() == code)
    }
}

fn decode(body: &[u8]) -> Option<Identity> {
    let mut fields = Fields(body);
    let state = DiskState::from_code(fields.u8()?)?;
    let (member, incarnation) = (MemberId(fields.u64()?), fields.u64()?);
    let ensemble = fields.option(Fields::array)?.map(EnsembleId);
    fields.end()?;
    Some(Identity { ensemble, member, incarnation, state })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Fault;
    use crate::{Log, LogOptions, SimDisk};

    fn member() -> Identity {
        let ensemble = Some(EnsembleId([7; 16]));
        Identity { ensemble, member: MemberId(0xabcd), incarnation: 41, state: DiskState::Member }
    }

    #[test]
    fn an_id_is_durable_when_it_is_returned_and_minted_once() {
        let disk = SimDisk::new(1);
        let minted = Identity::load_or_mint(&disk, || 99).unwrap();
        assert_eq!((minted.member, minted.state), (MemberId(99), DiskState::Blank));
        let disk = disk.crash();
        assert_eq!(Identity::load_or_mint(&disk, || panic!("minted twice")).unwrap(), minted);
    }

    #[test]
    fn incarnations_rise_over_crashes() {
        let mut disk = SimDisk::new(1);
        for expected in 1..20 {
            let mut identity = Identity::load_or_mint(&disk, || 5).unwrap();
            identity.begin_incarnation(&disk).unwrap();
            assert_eq!(identity.incarnation, expected);
            disk = disk.crash();
        }
    }

    #[test]
    fn a_crash_at_any_operation_leaves_the_old_identity_or_the_new_one() {
        for seed in 0..20 {
            for at in 0..5 {
                let disk = SimDisk::new(seed);
                member().save(&disk).unwrap();
                let mut next = member();
                disk.inject(disk.operations() + at, Fault::PowerLoss);
                assert!(next.begin_incarnation(&disk).is_err());
                let found = Identity::load(&disk.crash()).unwrap().unwrap();
                assert!(found == member() || found == next, "{found:?}");
            }
        }
    }

    #[test]
    fn every_flip_and_every_cut_is_noticed() {
        let disk = SimDisk::new(1);
        member().save(&disk).unwrap();
        let len = read_file(&disk, FILE, 1000).unwrap().unwrap().len();
        for bit in 0..len * 8 {
            let damaged = disk.fork();
            assert!(damaged.flip(FILE, bit / 8, 1 << (bit % 8)));
            assert!(Identity::load(&damaged).is_err(), "bit {bit}");
        }
        for cut in 0..len {
            let content = read_file(&disk, FILE, cut).unwrap().unwrap();
            let damaged = disk.fork();
            replace_file(&damaged, FILE, &content).unwrap();
            assert!(Identity::load(&damaged).is_err(), "cut to {cut}");
        }
    }

    #[test]
    fn data_without_an_identity_are_not_taken_for_an_empty_disk() {
        let disk = SimDisk::new(1);
        Log::open(disk.clone(), LogOptions { segment_bytes: 4096, ..LogOptions::new(MemberId(1)) }).unwrap();
        let error = Identity::load_or_mint(&disk, || 5).unwrap_err();
        assert_eq!(error.damage(), Some((FILE, 0)));
    }
}
