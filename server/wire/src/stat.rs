//! What clients see of a znode besides its data.

use crate::ids::Zxid;
use crate::jute::{DecodeError, Reader, Record, Writer};

/// A znode's metadata as clients see it: 68 bytes on the wire, in this order. Times are ms since the Unix epoch.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stat {
    pub czxid: Zxid,
    pub mzxid: Zxid,
    pub ctime_ms: i64,
    pub mtime_ms: i64,
    pub version: i32,
    /// The client-visible one: creations plus deletions of children.
    pub cversion: i32,
    pub aversion: i32,
    /// The session of an ephemeral, 0 for every other kind.
    pub ephemeral_owner: i64,
    /// 0 also when there is no data at all.
    pub data_length: i32,
    pub num_children: i32,
    /// Of the last creation or deletion of a child.
    pub pzxid: Zxid,
}

impl Record for Stat {
    const MIN_LEN: usize = 68;

    fn read(from: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            czxid: Zxid(from.long("czxid")?),
            mzxid: Zxid(from.long("mzxid")?),
            ctime_ms: from.long("ctime")?,
            mtime_ms: from.long("mtime")?,
            version: from.int("version")?,
            cversion: from.int("cversion")?,
            aversion: from.int("aversion")?,
            ephemeral_owner: from.long("ephemeralOwner")?,
            data_length: from.int("dataLength")?,
            num_children: from.int("numChildren")?,
            pzxid: Zxid(from.long("pzxid")?),
        })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.long(self.czxid.0);
        to.long(self.mzxid.0);
        to.long(self.ctime_ms);
        to.long(self.mtime_ms);
        to.int(self.version);
        to.int(self.cversion);
        to.int(self.aversion);
        to.long(self.ephemeral_owner);
        to.int(self.data_length);
        to.int(self.num_children);
        to.long(self.pzxid.0);
    }
}
