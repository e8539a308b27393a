//! Makes programs: a seed and a root path are all that decides what is in one.
//!
//! Few names, so that clients meet on the same nodes; much that is wrong, since errors are where servers differ. What
//! `docs/differences.md` explains is not asked for here, and a comment at its place says so.

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use zke_wire::{Acl, CreateMode, OpCode, Request, Zxid, path};

use crate::program::{Action, AsWho, Program, Step};

mod acls;
mod bodies;
mod paths;
mod weights;

/// Steps of a program besides those that begin its sessions: enough for something to stand in the way of something.
const STEPS: std::ops::Range<usize> = 15..45;
/// How far an expiry, which takes seconds, stands from the next one: one in so many programs.
const PROGRAMS_PER_EXPIRY: u64 = 100;

/// What a program is mostly about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Theme {
    Nodes,
    Watches,
    Access,
    Multi,
    Sessions,
    Bytes,
    Quota,
}

impl Theme {
    /// Then everybody may read everything: setWatches tells of nodes that a client may not read in ZooKeeper.
    fn sets_watches_anew(self) -> bool {
        matches!(self, Self::Watches | Self::Sessions | Self::Bytes)
    }
}

const THEMES: [Theme; 10] = [
    Theme::Nodes,
    Theme::Nodes,
    Theme::Watches,
    Theme::Watches,
    Theme::Watches,
    Theme::Access,
    Theme::Multi,
    Theme::Sessions,
    Theme::Bytes,
    Theme::Quota,
];

pub fn program(seed: u64, root: &str) -> Program {
    let mut random = StdRng::seed_from_u64(seed);
    let theme = THEMES[random.random_range(0..THEMES.len())];
    let clients = match theme {
        Theme::Nodes | Theme::Multi | Theme::Bytes => 1,
        Theme::Sessions | Theme::Quota => random.random_range(1..=2),
        Theme::Watches | Theme::Access => random.random_range(1..=3),
    };
    let mut maker = Maker { random, root, theme, clients, steps: Vec::new() };
    maker.begin();
    let steps = maker.random.random_range(STEPS);
    // Not the first one: a short run is to have one as well, but not to begin with it.
    let has_expiry = seed % PROGRAMS_PER_EXPIRY == PROGRAMS_PER_EXPIRY / 2;
    let expires = has_expiry.then(|| maker.random.random_range(0..steps));
    for at in 0..steps {
        match expires {
            Some(step) if step == at => maker.expire(),
            _ => maker.step(),
        }
    }
    Program { seed, root: root.to_owned(), steps: maker.steps.into_iter().enumerate().collect() }
}

struct Maker<'a> {
    random: StdRng,
    root: &'a str,
    theme: Theme,
    clients: usize,
    steps: Vec<Step>,
}

impl Maker<'_> {
    fn begin(&mut self) {
        for client in 0..self.clients {
            self.connect(client);
        }
        if self.theme == Theme::Quota {
            let limits = *[
                "count=3,bytes=20",
                "count=-1,bytes=-1=;byteHardLimit=12;countHardLimit=4",
                "count=2,bytes=-1=;byteHardLimit=-1;countHardLimit=6",
            ]
            .choose(&mut self.random)
            .unwrap_or(&"");
            let usage = "count=1,bytes=0";
            for (node, data) in [("", ""), ("/zookeeper_limits", limits), ("/zookeeper_stats", usage)] {
                let path = format!("/zookeeper/quota{}{node}", self.root);
                let data = Some(Bytes::from_static(data.as_bytes()));
                let create =
                    Request::Create { path, data, acl: vec![Acl::open()], flags: 0, with_stat: false };
                self.push(0, Action::Ask(create));
            }
        }
    }

    fn step(&mut self) {
        let client = self.random.random_range(0..self.clients);
        let often = self.theme == Theme::Sessions;
        match self.random.random_range(0..100) {
            0..3 => self.come_and_go(client),
            3..12 if often => self.come_and_go(client),
            12..15 if often => {
                self.push(client, Action::Ask(Request::Close));
                self.connect(client);
            }
            15..17 if often => self.garbage(client),
            3..30 if self.theme == Theme::Bytes => {
                let (op, body) = self.malformed();
                self.push(client, Action::Malformed { op, body });
                if self.steps.last().is_some_and(|step| step.action.hangs_up()) {
                    self.come_back(client);
                }
            }
            _ => {
                let request = self.request();
                self.push(client, Action::Ask(request));
                if self.steps.last().is_some_and(|step| step.action.may_hang_up()) {
                    self.come_back(client);
                }
            }
        }
    }

    fn push(&mut self, client: usize, action: Action) {
        // With a quota ZooKeeper looks at what is applied, so what is sent together would have a race.
        let may_join = self.theme != Theme::Quota && action.may_be_joined();
        let joined = may_join && self.random.random_ratio(2, 5);
        self.steps.push(Step { client, joined, action });
    }

    fn connect(&mut self, client: usize) {
        let timeout_ms = *[30_000, 30_000, 20_000, i32::MAX].choose(&mut self.random).unwrap_or(&30_000);
        let read_only =
            *[Some(false), Some(false), Some(true), None].choose(&mut self.random).unwrap_or(&None);
        self.push(client, Action::Connect { timeout_ms, read_only });
    }

    fn come_and_go(&mut self, client: usize) {
        if self.random.random_ratio(2, 3) {
            self.push(client, Action::Disconnect);
        }
        match self.random.random_range(0..12) {
            0 => self.push(client, Action::Reconnect { timeout_ms: 30_000, as_who: AsWho::Impostor }),
            1 => self.push(client, Action::Reconnect { timeout_ms: 30_000, as_who: AsWho::FromTheFuture }),
            _ => {}
        }
        // Others go on meanwhile.
        if self.clients > 1 && self.random.random_ratio(1, 2) {
            let other = (client + 1) % self.clients;
            let request = self.request();
            self.push(other, Action::Ask(request));
            if self.steps.last().is_some_and(|step| step.action.may_hang_up()) {
                self.come_back(other);
            }
        }
        self.come_back(client);
        if self.theme.sets_watches_anew() && self.random.random_ratio(1, 2) {
            let request = self.set_watches();
            self.push(client, Action::Ask(request));
        }
    }

    fn come_back(&mut self, client: usize) {
        let timeout_ms = *[30_000, 25_000, i32::MAX].choose(&mut self.random).unwrap_or(&30_000);
        self.push(client, Action::Reconnect { timeout_ms, as_who: AsWho::Itself });
    }

    fn garbage(&mut self, client: usize) {
        let bytes: &[u8] = [
            &[0xff, 0xff, 0xff, 0xff][..],
            &[0x00, 0x10, 0x00, 0x00],
            &[0x7f, 0xff, 0xff, 0xff],
            &[0x00, 0x00, 0x00, 0x00],
            &[0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x09],
            &[0x80, 0x00, 0x00, 0x00],
        ]
        .choose(&mut self.random)
        .copied()
        .unwrap_or_default();
        self.push(client, Action::Bytes(Bytes::from_static(bytes)));
        self.come_back(client);
    }

    fn expire(&mut self) {
        let client = self.random.random_range(0..self.clients);
        self.push(client, Action::Expire);
        self.come_back(client);
        self.connect(client);
    }

    /// Anything that a client may ask for, in one of its forms.
    fn request(&mut self) -> Request {
        let weights: &[(OpCode, u32)] = match self.theme {
            Theme::Nodes => &weights::NODES,
            Theme::Sessions | Theme::Bytes => &weights::SESSIONS,
            Theme::Watches => &weights::WATCHES,
            Theme::Access => &weights::ACCESS,
            Theme::Multi => &weights::MULTI,
            Theme::Quota => &weights::QUOTA,
        };
        let op = weights.choose_weighted(&mut self.random, |(_, weight)| *weight).map(|(op, _)| *op);
        self.of_op(op.unwrap_or(OpCode::Exists))
    }

    fn of_op(&mut self, op: OpCode) -> Request {
        match op {
            OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => self.create(op),
            OpCode::Delete => Request::Delete { path: self.target(), version: self.version() },
            OpCode::Exists => Request::Exists { path: self.path(), watch: self.watch() },
            OpCode::GetData => {
                let path = self.path();
                Request::GetData { path: self.quota_or(path), watch: self.watch() }
            }
            OpCode::SetData => {
                Request::SetData { path: self.path(), data: self.data(), version: self.version() }
            }
            OpCode::GetAcl => Request::GetAcl { path: self.path() },
            OpCode::SetAcl => Request::SetAcl { path: self.path(), acl: self.acl(), version: self.version() },
            OpCode::GetChildren | OpCode::GetChildren2 => Request::GetChildren {
                path: self.path(),
                watch: self.watch(),
                with_stat: op == OpCode::GetChildren2,
            },
            OpCode::GetAllChildrenNumber => Request::GetAllChildrenNumber { path: self.path() },
            OpCode::GetEphemerals => {
                let prefixes = [None, Some(String::new()), Some("/".to_owned()), Some(self.path())];
                Request::GetEphemerals {
                    prefix: prefixes.choose(&mut self.random).cloned().unwrap_or_default(),
                }
            }
            OpCode::Sync => Request::Sync { path: self.path() },
            OpCode::Check => Request::Check { path: self.path(), version: self.version() },
            OpCode::Multi => Request::Multi { ops: self.parts() },
            OpCode::MultiRead => Request::MultiRead { ops: self.read_parts() },
            OpCode::Auth => self.auth(),
            OpCode::Sasl => Request::Sasl { token: self.data() },
            OpCode::WhoAmI => Request::WhoAmI,
            OpCode::SetWatches | OpCode::SetWatches2 => self.set_watches(),
            OpCode::AddWatch => {
                let mode = *[0, 0, 0, 1, 1, 1, 2, -1].choose(&mut self.random).unwrap_or(&0);
                Request::AddWatch { path: self.path(), mode }
            }
            OpCode::CheckWatches => Request::CheckWatches { path: self.path(), kind: self.watch_kind() },
            OpCode::RemoveWatches => Request::RemoveWatches { path: self.path(), kind: self.watch_kind() },
            // The operator's side of the membership is another product's in each server.
            OpCode::Ping | OpCode::CloseSession | OpCode::Reconfig => Request::Ping,
        }
    }

    fn create(&mut self, op: OpCode) -> Request {
        let flags: &[i32] = match op {
            // Not 1 and 3: to what is behind it in a multi, ZooKeeper's container is an ephemeral.
            OpCode::CreateContainer => &[4, 4, 4, 4, 0, 2, 2, 5, 9],
            OpCode::CreateTtl => &[5, 5, 5, 6, 6, 0, 1, 4, 7],
            // Not 4, by which there comes a container here and a persistent node in ZooKeeper.
            _ => &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 3, 3, 5, 6, 7, -1],
        };
        let flags = *flags.choose(&mut self.random).unwrap_or(&0);
        let (mut path, data, acl) = (self.target(), self.data(), self.acl());
        let is_sequential = CreateMode::from_flags(flags).is_ok_and(CreateMode::is_sequential);
        if is_sequential && path::parent(&path).is_none_or(|parent| parent == "/") {
            // Its number would tell of other programs.
            path = self.ordinary();
        }
        match op {
            OpCode::CreateContainer => Request::CreateContainer { path, data, acl, flags },
            OpCode::CreateTtl => {
                let ttl_ms = *[1 << 30, 1 << 30, 1 << 30, (1 << 40) - 1, 1 << 40, 0, -1, i64::MAX]
                    .choose(&mut self.random)
                    .unwrap_or(&1);
                // Below 0 with other flags is let in by ZooKeeper and ends its process.
                let ttl_ms = if matches!(flags, 5 | 6) { ttl_ms } else { ttl_ms.max(0) };
                Request::CreateTtl { path, data, acl, flags, ttl_ms }
            }
            _ => Request::Create { path, data, acl, flags, with_stat: op == OpCode::Create2 },
        }
    }

    fn parts(&mut self) -> Vec<Request> {
        let ops = [
            OpCode::Create,
            OpCode::Create,
            OpCode::Create2,
            OpCode::CreateContainer,
            OpCode::CreateTtl,
            OpCode::Delete,
            OpCode::Delete,
            OpCode::SetData,
            OpCode::SetData,
            OpCode::Check,
            OpCode::Check,
        ];
        // In a quota's subtree one at a time: the operations of one multi do not see each other's usage in ZooKeeper.
        let most = if self.theme == Theme::Quota { 1 } else { 5 };
        let len = self.random.random_range(0..=most);
        let foreign = self.random.random_ratio(1, 40);
        let mut parts: Vec<Request> = (0..len)
            .map(|_| {
                let op = *ops.choose(&mut self.random).unwrap_or(&OpCode::Check);
                self.of_op(op)
            })
            .collect();
        if foreign {
            let op = *[OpCode::GetData, OpCode::SetAcl, OpCode::Sync]
                .choose(&mut self.random)
                .unwrap_or(&OpCode::Sync);
            let request = self.of_op(op);
            parts.push(request);
        }
        parts
    }

    fn read_parts(&mut self) -> Vec<Request> {
        let len = self.random.random_range(0..5);
        let mut parts = Vec::new();
        for _ in 0..len {
            let (path, watch) = (self.path(), self.watch());
            parts.push(match self.random.random_range(0..20) {
                0 => Request::Exists { path, watch },
                1..10 => Request::GetChildren { path, watch, with_stat: false },
                _ => Request::GetData { path, watch },
            });
        }
        parts
    }

    fn set_watches(&mut self) -> Request {
        let relative_zxid = Zxid(self.random.random_range(0..self.steps.len() as i64 + 2));
        let paths = |maker: &mut Self| -> Vec<String> {
            let len = maker.random.random_range(0..3);
            (0..len).map(|_| maker.path()).collect()
        };
        let (data, exist, child) = (paths(self), paths(self), paths(self));
        if self.random.random_ratio(1, 2) {
            return Request::SetWatches { relative_zxid, data, exist, child };
        }
        let (persistent, persistent_recursive) = (paths(self), paths(self));
        Request::SetWatches2 { relative_zxid, data, exist, child, persistent, persistent_recursive }
    }

    fn version(&mut self) -> i32 {
        match self.random.random_range(0..12) {
            0..6 => -1,
            6..9 => 0,
            9 => 1,
            10 => 2,
            _ => *[3, 99, -2, i32::MIN, i32::MAX].choose(&mut self.random).unwrap_or(&3),
        }
    }

    fn watch(&mut self) -> bool {
        let often = if self.theme == Theme::Watches { 3 } else { 1 };
        self.random.random_ratio(often, 5)
    }

    fn watch_kind(&mut self) -> i32 {
        *[1, 2, 3, 3, 4, 5, 0, 6, -1].choose(&mut self.random).unwrap_or(&3)
    }

    fn data(&mut self) -> Option<Bytes> {
        match self.random.random_range(0..10) {
            0..2 => None,
            2 => Some(Bytes::new()),
            3 => Some(Bytes::from(vec![self.random.random(); 100])).filter(|_| self.theme != Theme::Quota),
            _ => {
                let len = self.random.random_range(1..9);
                Some((0..len).map(|_| self.random.random_range(b'a'..=b'z')).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_is_the_whole_program() {
        for seed in 0..50 {
            assert_eq!(program(seed, "/root"), program(seed, "/root"));
            assert_ne!(program(seed, "/root"), program(seed + 1, "/root"));
        }
    }

    #[test]
    fn every_operation_is_asked_for_soon() {
        let asked: BTreeSet<i32> = (0..300)
            .flat_map(|seed| program(seed, "/root").steps)
            .filter_map(|(_, step)| match step.action {
                Action::Ask(request) => Some(request.op().number()),
                _ => None,
            })
            .collect();
        let not_here = |op: &OpCode| !asked.contains(&op.number());
        let missing: Vec<OpCode> = OpCode::ALL.iter().copied().filter(not_here).collect();
        assert_eq!(missing, [OpCode::Reconfig]);
    }
}
