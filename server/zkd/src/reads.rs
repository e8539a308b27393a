//! Answers what needs no log: evaluates a request against this member's state, arms its watch and encodes the reply,
//! as one step that the apply thread cannot come between.

use bytes::{Bytes, BytesMut};
use zke_tree::{Missed, State};
use zke_wire::{ClientInfo, ErrorCode, Id, MultiResult, Response, SessionId, Zxid, encode_event, xid};

use crate::connection::{ConnectionId, Watches};
use crate::requests::{Read, ReadOp};

/// Of data and names in the answer to a multiRead, since a small request may ask for one large node thousands of times.
/// More than that is answered MarshallingError. ZooKeeper's clients take 1 MiB unless told otherwise.
const MULTI_READ_MAX_BYTES: usize = 16 << 20;

/// Who asks: whose rights count and where a watch belongs.
pub struct Asker<'a> {
    pub connection: ConnectionId,
    pub session: SessionId,
    pub identities: &'a [Id],
    pub watches: &'a Watches,
}

/// Appends the reply to `out`, behind the events that it brings along; returns how many messages that are.
///
/// The caller holds a read or write lock on `state` until the reply stands in the connection's queue.
pub fn answer(read: Read, xid: i32, state: &State, asker: &Asker<'_>, out: &mut BytesMut) -> u64 {
    let mut messages = 1;
    let response = match read {
        Read::Ping => {
            Response::Empty.encode(xid::PING, state.last_zxid(), out);
            return messages;
        }
        // As ZooKeeper: nothing was processed, so there is no zxid to speak of.
        Read::Refused(code @ ErrorCode::Unimplemented) => {
            Response::Error(code).encode(xid, Zxid::UNKNOWN, out);
            return messages;
        }
        Read::Refused(code) => Response::Error(code),
        Read::Sync { path } => Response::Sync { path },
        Read::Close => Response::Empty,
        Read::WhoAmI => who_am_i(asker.identities),
        Read::MultiRead { ops } => multi_read(state, asker.identities, &ops),
        Read::Exists { path, watch } => exists(state, asker, &path, watch),
        Read::GetData { path, watch } => match state.data(&path, asker.identities) {
            Ok((data, stat)) => {
                if watch {
                    asker.watches.lock().arm_data(&path, asker.connection);
                }
                Response::encode_data(data, &stat, xid, state.last_zxid(), out);
                return messages;
            }
            Err(code) => Response::Error(code),
        },
        Read::GetAcl { path } => match state.get_acl(&path, asker.identities) {
            Ok((acl, stat)) => Response::Acl { acl, stat },
            Err(code) => Response::Error(code),
        },
        Read::GetChildren { path, watch, with_stat } => match state.get_children(&path, asker.identities) {
            Ok((children, stat)) => {
                if watch {
                    asker.watches.lock().arm_child(&path, asker.connection);
                }
                if with_stat {
                    Response::Children2 { children, stat }
                } else {
                    Response::Children { children }
                }
            }
            Err(code) => Response::Error(code),
        },
        Read::GetAllChildrenNumber { path } => match state.all_children_number(&path, asker.identities) {
            Ok(number) => Response::ChildrenNumber(i32::try_from(number).unwrap_or(i32::MAX)),
            Err(code) => Response::Error(code),
        },
        Read::GetEphemerals { prefix } => {
            let paths = state.ephemerals(asker.session, prefix.as_deref().unwrap_or_default());
            Response::Ephemerals { paths }
        }
        Read::AddWatch { path, recursive } => {
            let mut watches = asker.watches.lock();
            if recursive {
                watches.arm_recursive(&path, asker.connection);
            } else {
                watches.arm_persistent(&path, asker.connection);
            }
            Response::AddWatch
        }
        Read::CheckWatches { path, kind } => {
            watcher_found(asker.watches.lock().is_armed(&path, kind, asker.connection))
        }
        Read::RemoveWatches { path, kind } => {
            watcher_found(asker.watches.lock().disarm(&path, kind, asker.connection))
        }
        Read::SetWatches { relative_zxid, data, exist, child, persistent, recursive } => {
            let missed = Missed::since(state, relative_zxid, data, exist, child, asker.identities);
            for event in &missed.events {
                encode_event(Zxid::UNKNOWN, event, out);
                messages += 1;
            }
            let mut watches = asker.watches.lock();
            watches.arm_all(&missed, asker.connection);
            // What was missed of these is not told, in ZooKeeper neither.
            persistent.iter().for_each(|path| watches.arm_persistent(path, asker.connection));
            recursive.iter().for_each(|path| watches.arm_recursive(path, asker.connection));
            Response::Empty
        }
    };
    response.encode(xid, state.last_zxid(), out);
    messages
}

fn watcher_found(found: bool) -> Response {
    if found { Response::Empty } else { Response::Error(ErrorCode::NoWatcher) }
}

/// Watches a node that is there and one that is not alike: the client waits for either.
fn exists(state: &State, asker: &Asker<'_>, path: &str, watch: bool) -> Response {
    let found = state.exists(path, asker.identities);
    if watch && matches!(found, Ok(_) | Err(ErrorCode::NoNode)) {
        asker.watches.lock().arm_data(path, asker.connection);
    }
    found.map_or_else(Response::Error, Response::Stat)
}

/// Each for itself: one that fails has its error among the results.
fn multi_read(state: &State, identities: &[Id], ops: &[ReadOp]) -> Response {
    let mut room = MULTI_READ_MAX_BYTES;
    let mut results = Vec::with_capacity(ops.len());
    for op in ops {
        let (result, bytes) = match read_one(state, identities, op) {
            Ok(read) => read,
            Err(code) => (MultiResult::Error(code), 0),
        };
        let Some(rest) = room.checked_sub(bytes) else { return Response::Error(ErrorCode::MarshallingError) };
        room = rest;
        results.push(result);
    }
    Response::Multi { results }
}

/// With the bytes of data and names.
fn read_one(state: &State, identities: &[Id], op: &ReadOp) -> Result<(MultiResult, usize), ErrorCode> {
    match op {
        ReadOp::GetData { path } => {
            let (data, stat) = state.get_data(path, identities)?;
            let bytes = data.as_ref().map_or(0, Bytes::len);
            Ok((MultiResult::Data { data, stat }, bytes))
        }
        ReadOp::GetChildren { path } => {
            let (children, _) = state.get_children(path, identities)?;
            let bytes = children.iter().map(|name| size_of::<String>() + name.len()).sum();
            Ok((MultiResult::Children { children }, bytes))
        }
    }
}

fn who_am_i(identities: &[Id]) -> Response {
    let clients = identities.iter().map(|id| ClientInfo {
        auth_scheme: id.scheme.clone(),
        // What follows a digest's colon is as good as a password to those who may read ACLs.
        user: match id.scheme.as_str() {
            "digest" => id.id.split(':').next().unwrap_or_default().to_owned(),
            _ => id.id.clone(),
        },
    });
    Response::WhoAmI { clients: clients.collect() }
}
