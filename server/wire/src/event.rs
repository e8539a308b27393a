//! Watch notifications: the only messages a server sends unasked.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::error_code::numbered;
use crate::frame;
use crate::header::{ReplyHeader, xid};
use crate::ids::Zxid;
use crate::jute::{DecodeError, Reader, Record, Writer};

/// `KeeperState.SyncConnected`, the only state a server ever sends; the others are made up by client libraries.
const SYNC_CONNECTED: i32 = 3;

numbered! {
    /// What happened to the node of an event.
    pub enum EventKind (number, from_i32) {
        /// A change of the connection's state, which only client libraries produce.
        None = -1,
        NodeCreated = 1,
        NodeDeleted = 2,
        NodeDataChanged = 3,
        NodeChildrenChanged = 4,
        DataWatchRemoved = 5,
        ChildWatchRemoved = 6,
        PersistentWatchRemoved = 7,
    }
}

/// One change seen by a watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatcherEvent {
    pub kind: EventKind,
    /// Shared, since one change may be told to many connections.
    pub path: Arc<str>,
}

impl WatcherEvent {
    /// Reads the body of a message whose header carries [`xid::NOTIFICATION`].
    ///
    /// # Errors
    /// [`DecodeError`] if it is no event.
    pub fn decode(body: Bytes) -> Result<Self, DecodeError> {
        Self::read(&mut Reader::new(body))
    }
}

impl Record for WatcherEvent {
    const MIN_LEN: usize = 12;

    fn read(from: &mut Reader) -> Result<Self, DecodeError> {
        let field = "event type";
        let value = from.int(field)?;
        let kind = EventKind::from_i32(value).ok_or(DecodeError::UnknownValue { field, value })?;
        from.int("event state")?;
        Ok(Self { kind, path: from.string("event path")?.into() })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.int(self.kind.number());
        to.int(SYNC_CONNECTED);
        to.string(&self.path);
    }
}

/// Appends the notification of `event` as a frame. `zxid` is that of the change, or [`Zxid::UNKNOWN`] for an event
/// that setWatches found to have been missed.
pub fn encode_event(zxid: Zxid, event: &WatcherEvent, out: &mut BytesMut) {
    frame::write(out, |to| {
        ReplyHeader { xid: xid::NOTIFICATION, zxid, err: None }.write(to);
        event.write(to);
    });
}
