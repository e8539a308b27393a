//! The bytes of one znode in a snapshot.
//!
//! Links are the slot numbers of the member that wrote it. Children are not listed: each node names its parent.

use bytes::BufMut;

use crate::arena::Slot;
use crate::codec::{Malformed, Put, Reader};
use crate::node::{Extra, Node};

/// A znode as a snapshot has it.
pub(crate) struct Record {
    pub index: u32,
    /// The root, which is the first, names none.
    pub parent: Option<u32>,
    pub acl: u32,
    pub czxid: i64,
    pub mzxid: i64,
    pub ctime_ms: i64,
    pub mtime_ms: i64,
    pub version: i32,
    pub aversion: i32,
    pub owner: i64,
    pub pzxid: i64,
    pub cversion: i64,
    pub name: String,
    pub data: Option<bytes::Bytes>,
}

/// A node as it is now, on its own.
pub(crate) fn image(slot: Slot, node: &Node, extra: &Extra) -> Box<[u8]> {
    let mut out = Vec::with_capacity(96 + node.name_bytes().len() + node.data_len());
    write(&mut out, slot.index(), node, extra);
    out.into_boxed_slice()
}

pub(crate) fn write(out: &mut Vec<u8>, index: u32, node: &Node, extra: &Extra) {
    out.put_varint(index.into());
    out.put_varint(node.parent.map_or(0, |parent| u64::from(parent.index()) + 1));
    out.put_varint(node.acl.index().into());
    for long in
        [node.czxid, node.mzxid, node.ctime_ms, node.mtime_ms, extra.owner, extra.pzxid, extra.cversion]
    {
        out.put_i64(long);
    }
    out.put_i32(node.version);
    out.put_i32(node.aversion);
    out.put_bytes_with_len(node.name_bytes());
    out.put_u8(node.data().is_some().into());
    if let Some(data) = node.data() {
        out.put_bytes_with_len(data);
    }
}

pub(crate) fn read(from: &mut Reader) -> Result<Record, Malformed> {
    let index = from.varint_u32("node index")?;
    let parent = from.varint("parent index")?;
    let parent = parent.checked_sub(1).map(u32::try_from).transpose();
    let parent = parent.map_err(|_| from.malformed("parent index"))?;
    let acl = from.varint_u32("acl index")?;
    let mut long = || from.i64("node");
    let [czxid, mzxid, ctime_ms, mtime_ms] = [long()?, long()?, long()?, long()?];
    let [owner, pzxid, cversion] = [long()?, long()?, long()?];
    Ok(Record {
        index,
        parent,
        acl,
        czxid,
        mzxid,
        ctime_ms,
        mtime_ms,
        owner,
        pzxid,
        cversion,
        version: from.i32("version")?,
        aversion: from.i32("aversion")?,
        name: from.string("name")?,
        data: if from.bool("has data")? { Some(from.bytes("data")?) } else { None },
    })
}
