//! The bytes of a snapshot file.
//!
//! ```text
//! header   magic [8], version u8, len u32, content [len], crc32c u32 of all before it
//!          content: last entry (term u64, index u64), the membership's entry (u8 0/1, then term, index), membership
//! block    len u32 (1 to 256 KiB), crc32c u32 of len and data, going on from the crc before it; data [len]
//! trailer  0 u32, crc32c u32 likewise over 0 and the length; bytes of all data u64
//! ```
//!
//! Every checksum starts from the one before it, so a block is only good in its place.

use bytes::Bytes;

use super::SnapshotMeta;
use crate::StorageError;
use crate::codec::{Fields, put_log_id, put_option, take_log_id};

pub(super) const MAGIC: [u8; 8] = *b"zke-snap";
pub(super) const VERSION: u8 = 1;

/// Magic, version and the length of the content.
pub(super) const PREFIX_BYTES: usize = 13;

/// Keeps a damaged length from asking for all memory.
pub(super) const CONTENT_BYTES_MAX: usize = (1 << 20) + 64;

/// Data of a block: large enough for few calls, small enough to hold one at a time.
pub(super) const BLOCK_BYTES_MAX: usize = 256 << 10;

/// The length and the checksum of a block.
pub(super) const BLOCK_HEADER_BYTES: usize = 8;

pub(super) const TRAILER_BYTES: usize = 16;

pub(super) fn encode_header(meta: &SnapshotMeta) -> Result<Vec<u8>, StorageError> {
    let mut content = Vec::new();
    put_log_id(&mut content, meta.last);
    put_option(&mut content, meta.membership_id, put_log_id);
    content.extend_from_slice(&meta.membership);
    if content.len() > CONTENT_BYTES_MAX {
        let (bytes, limit) = (content.len() as u64, CONTENT_BYTES_MAX as u64);
        return Err(StorageError::TooLarge { what: "the membership in a snapshot", bytes, limit });
    }
    let mut header = MAGIC.to_vec();
    header.push(VERSION);
    header.extend_from_slice(&(content.len() as u32).to_le_bytes());
    header.extend_from_slice(&content);
    let crc = crc32c::crc32c(&header);
    header.extend_from_slice(&crc.to_le_bytes());
    Ok(header)
}

pub(super) fn decode_content(content: &[u8]) -> Option<SnapshotMeta> {
    let mut fields = Fields(content);
    let last = take_log_id(&mut fields)?;
    let membership_id = fields.option(take_log_id)?;
    Some(SnapshotMeta { last, membership_id, membership: Bytes::copy_from_slice(fields.0) })
}

/// The checksum of a block or trailer that follows one with checksum `before`.
pub(super) fn chain(before: u32, len: u32, data: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(before, &len.to_le_bytes()), data)
}
