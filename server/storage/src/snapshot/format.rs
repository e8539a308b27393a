//! The header of a snapshot file; what follows it is [`crate::blocks`].
//!
//! ```text
//! last entry (term u64, index u64), the membership's entry (u8 0/1, then term, index), membership
//! ```

use bytes::Bytes;

use super::SnapshotMeta;
use crate::StorageError;
use crate::blocks::Format;
use crate::codec::{Fields, put_log_id, put_option, take_log_id};

pub(crate) const FORMAT: Format =
    Format { magic: *b"zke-snap", version: 1, header_bytes_max: (1 << 20) + 64 };

pub(super) fn encode_header(meta: &SnapshotMeta) -> Result<Vec<u8>, StorageError> {
    let mut content = Vec::new();
    put_log_id(&mut content, meta.last);
    put_option(&mut content, meta.membership_id, put_log_id);
    content.extend_from_slice(&meta.membership);
    if content.len() > FORMAT.header_bytes_max {
        let (bytes, limit) = (content.len() as u64, FORMAT.header_bytes_max as u64);
        return Err(StorageError::TooLarge { what: "the membership in a snapshot", bytes, limit });
    }
    Ok(FORMAT.header(&content))
}

pub(super) fn decode_content(content: &[u8]) -> Option<SnapshotMeta> {
    let mut fields = Fields(content);
    let last = take_log_id(&mut fields)?;
    let membership_id = fields.option(take_log_id)?;
    Some(SnapshotMeta { last, membership_id, membership: Bytes::copy_from_slice(fields.0) })
}
