//! Random commands under a quota: its usage is what is there, whatever was refused or taken back.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use zke_tree::{Command, WriteOp};
use zke_wire::{Acl, Id, SessionId};

use crate::ensemble::Ensemble;
use crate::random;

/// Of no session that random commands name.
const SESSION: SessionId = SessionId(1000);

/// What sets a quota on `/a`, which need not be there.
pub fn of_a() -> Vec<Command> {
    let create = |path: &str, data: &'static str| {
        let (path, data, acl) = (path.to_owned(), Some(Bytes::from(data)), vec![Acl::open()]);
        let op = WriteOp::Create { path, data, acl, flags: 0, with_stat: false };
        Command::Client { session: SESSION, attach_epoch: 0, identities: vec![], op }
    };
    vec![
        Command::CreateSession { session: SESSION, password: [1; 16], timeout_ms: 1 },
        create("/zookeeper/quota/a", ""),
        create("/zookeeper/quota/a/zookeeper_limits", "count=1,bytes=-1=;byteHardLimit=6;countHardLimit=3"),
        create("/zookeeper/quota/a/zookeeper_stats", ""),
    ]
}

/// Bytes of data at and below a path.
fn bytes_below(ensemble: &Ensemble, path: &str) -> usize {
    let every = [Id::new("super", "")];
    let Ok((data, _)) = ensemble.state.get_data(path, &every) else { return 0 };
    let (children, _) = ensemble.state.get_children(path, &every).expect("it is there");
    let below = children.iter().map(|name| bytes_below(ensemble, &format!("{path}/{name}")));
    data.map_or(0, |data| data.len()) + below.sum::<usize>()
}

proptest! {
    #[test]
    fn usage_is_what_is_there(commands in vec(random::command(), 0..60), enforced: bool) {
        let mut ensemble = Ensemble::new();
        of_a().into_iter().for_each(|command| drop(ensemble.apply(command)));
        ensemble.settings.enforce_quota = enforced;
        let every = [Id::new("super", "")];
        for command in commands {
            ensemble.apply(command);
            let count = ensemble.state.all_children_number("/a", &every).map_or(0, |below| below + 1);
            let bytes = bytes_below(&ensemble, "/a");
            let usage = ensemble.state.get_data("/zookeeper/quota/a/zookeeper_stats", &every);
            let (data, stat) = usage.expect("it is there");
            let data = data.expect("it has data");
            let expected = format!("count={count},bytes={bytes}");
            prop_assert_eq!(String::from_utf8_lossy(&data), expected);
            prop_assert_eq!(stat.version, 0);
            prop_assert!(!enforced || (count <= 3 && bytes <= 6));
        }
    }
}
