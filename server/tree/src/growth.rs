//! Which writes make the tree larger: what a leader refuses while there is little room on the volumes.
//!
//! Only an estimate, of the state as it is where it is asked for: what is refused by it is refused through the log, and so
//! for everybody alike.

use bytes::Bytes;

use crate::command::{Command, WriteOp};
use crate::state::State;

impl State {
    /// Whether `command` would make the tree larger than it is now. The ends of sessions never do; neither do their
    /// beginnings count, since whoever wants to delete something has to come in first.
    pub fn would_grow(&self, command: &Command) -> bool {
        matches!(command, Command::Client { op, .. } if self.grows_by(op))
    }

    fn grows_by(&self, op: &WriteOp) -> bool {
        match op {
            WriteOp::Create { .. }
            | WriteOp::CreateContainer { .. }
            | WriteOp::CreateTtl { .. }
            | WriteOp::SetAcl { .. } => true,
            WriteOp::SetData { path, data, .. } => {
                let there = self.tree.find(path).map_or(0, |place| self.tree.stat(place).data_length);
                data.as_ref().map_or(0, Bytes::len) > usize::try_from(there).unwrap_or(0)
            }
            // The ensemble's own lines are few, and another member may be what makes room.
            WriteOp::Delete { .. } | WriteOp::Check { .. } | WriteOp::Reconfig(_) => false,
            WriteOp::Multi { ops } => ops.iter().any(|op| self.grows_by(op)),
        }
    }
}

#[cfg(test)]
mod tests {
    use zke_wire::SessionId;

    use super::*;

    fn client(op: WriteOp) -> Command {
        Command::Client { session: SessionId(1), attach_epoch: 1, identities: Vec::new(), op }
    }

    fn set(path: &str, data: &'static [u8]) -> WriteOp {
        WriteOp::SetData { path: path.to_owned(), data: Some(Bytes::from_static(data)), version: -1 }
    }

    fn create(path: &str) -> WriteOp {
        WriteOp::Create { path: path.to_owned(), data: None, acl: Vec::new(), flags: 0, with_stat: false }
    }

    fn delete(path: &str) -> WriteOp {
        WriteOp::Delete { path: path.to_owned(), version: -1 }
    }

    #[test]
    fn what_adds_grows_and_what_takes_away_or_ends_does_not() {
        let state = State::new();
        let grows = [
            create("/a"),
            set("/zookeeper/quota", b"x"),
            WriteOp::Multi { ops: vec![delete("/b"), create("/a")] },
        ];
        for op in grows {
            assert!(state.would_grow(&client(op.clone())), "{op:?}");
        }
        let fits = [delete("/a"), set("/zookeeper/quota", b""), WriteOp::Multi { ops: vec![delete("/b")] }];
        for op in fits {
            assert!(!state.would_grow(&client(op.clone())), "{op:?}");
        }
        let close = Command::CloseSession { session: SessionId(1), attach_epoch: 1 };
        let begin = Command::CreateSession { session: SessionId(1), password: [0; 16], timeout_ms: 4_000 };
        assert!(!state.would_grow(&close) && !state.would_grow(&begin));
    }
}
