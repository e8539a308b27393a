//! What tells one snapshot file from every other, and the name of the file that holds a part of it.
//!
//! The last entry alone does not: two members write the nodes of the same state in different orders. So the length and
//! the checksum in the trailer belong to it; that checksum goes on from those of all blocks. Should two files have the same
//! after all, then a file with parts of both is noticed when it is verified, and the transfer begins anew.

use super::{name, parse_name};
use crate::log::LogId;

/// Of a part of a snapshot that another member sends.
const PARTIAL: &str = "partial-";

/// Of one snapshot file, whoever has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotFingerprint {
    pub last: LogId,
    /// Of the whole file.
    pub file_bytes: u64,
    /// The checksum in the trailer.
    pub crc: u32,
}

impl SnapshotFingerprint {
    pub(super) fn partial_name(&self) -> String {
        format!("{}-{:016x}-{:08x}", name(PARTIAL, self.last), self.file_bytes, self.crc)
    }

    pub(super) fn parse_partial_name(file: &str) -> Option<SnapshotFingerprint> {
        let (rest, crc) = file.rsplit_once('-')?;
        let (start, file_bytes) = rest.rsplit_once('-')?;
        let parsed = SnapshotFingerprint {
            last: parse_name(start, PARTIAL)?,
            file_bytes: u64::from_str_radix(file_bytes, 16).ok()?,
            crc: u32::from_str_radix(crc, 16).ok()?,
        };
        (parsed.partial_name() == file).then_some(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_file_is_known_by_its_name_and_by_no_other() {
        let of =
            SnapshotFingerprint { last: LogId { term: 3, index: 0x1_0000_0000 }, file_bytes: 77, crc: 9 };
        let name = of.partial_name();
        assert_eq!(name, "partial-0000000000000003-0000000100000000-000000000000004d-00000009");
        assert_eq!(SnapshotFingerprint::parse_partial_name(&name), Some(of));
        for other in [
            &name[1..],
            &name[..name.len() - 1],
            &name.replace('9', "+9"),
            &format!("{name}.tmp"),
            "partial-",
        ] {
            assert_eq!(SnapshotFingerprint::parse_partial_name(other), None, "{other}");
        }
    }
}
