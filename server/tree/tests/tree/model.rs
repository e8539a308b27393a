//! The state machine beside a model that is too simple to be wrong: one map from path to node, walked whole.
//!
//! The model knows no access control; scripts do.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use zke_tree::{Command, Event, Reply, State, WriteOp};
use zke_wire::{Acl, CreateMode, ErrorCode, EventKind, SessionId, Stat, Zxid, path};

use crate::ensemble::{Ensemble, Outcome};
use crate::{quota, random};

#[derive(Debug, Clone)]
struct Node {
    data: Option<Bytes>,
    /// Its cversion is the stored one; data length and children are found when asked for.
    stat: Stat,
    goes: Goes,
}

/// When a node goes by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goes {
    Never,
    WithSession,
    WithLastChild,
    AfterMs(i64),
}

struct Model {
    nodes: BTreeMap<String, Node>,
    /// With attach epochs.
    sessions: BTreeMap<SessionId, u32>,
}

type Heard = (EventKind, String);

impl Model {
    fn new() -> Self {
        let node = |aversion| Node {
            data: Some(Bytes::new()),
            stat: Stat { aversion, ..Stat::default() },
            goes: Goes::Never,
        };
        let paths = [("/", 0), ("/zookeeper", 0), ("/zookeeper/quota", 0), ("/zookeeper/config", -1)];
        let nodes = paths.map(|(path, aversion)| (path.to_owned(), node(aversion)));
        Self { nodes: nodes.into(), sessions: BTreeMap::new() }
    }

    fn children(&self, parent: &str) -> Vec<String> {
        let is_child = |path: &&String| path::parent(path) == Some(parent);
        self.nodes.keys().filter(is_child).map(|path| path::name(path).to_owned()).collect()
    }

    fn stat(&self, path: &str) -> Stat {
        let node = &self.nodes[path];
        let num_children = self.children(path).len() as i32;
        let data_length = node.data.as_ref().map_or(0, Bytes::len) as i32;
        Stat { cversion: 2 * node.stat.cversion - num_children, num_children, data_length, ..node.stat }
    }

    fn apply(
        &mut self,
        command: &Command,
        zxid: Zxid,
        time_ms: i64,
    ) -> Result<(Vec<Heard>, String), ErrorCode> {
        match command {
            Command::CreateSession { session, .. } => {
                if session.0 == 0 || self.sessions.contains_key(session) {
                    return Err(ErrorCode::BadArguments);
                }
                self.sessions.insert(*session, 0);
                Ok((vec![], "session".into()))
            }
            Command::AttachSession { session, password, .. } => {
                let epoch = self.sessions.get_mut(session).filter(|_| password[0] != 0);
                *epoch.ok_or(ErrorCode::SessionExpired)? += 1;
                Ok((vec![], "session".into()))
            }
            Command::CloseSession { session, attach_epoch } => {
                self.check(*session, *attach_epoch)?;
                self.sessions.remove(session);
                let owned = |node: &Node| node.stat.ephemeral_owner == session.0;
                let paths: Vec<String> =
                    self.nodes.iter().filter(|(_, node)| owned(node)).map(|(path, _)| path.clone()).collect();
                Ok((paths.iter().flat_map(|path| self.remove(path, zxid)).collect(), "done".into()))
            }
            Command::DeleteContainer { path } => self.delete_container(path, zxid, time_ms),
            Command::Client { session, attach_epoch, op: WriteOp::Multi { ops }, .. } => {
                self.check(*session, *attach_epoch)?;
                Ok(self.multi(*session, *attach_epoch, ops, zxid, time_ms))
            }
            Command::Client { session, attach_epoch, op, .. } => {
                self.write(*session, *attach_epoch, op, zxid, time_ms)
            }
            other => panic!("the model has no {other:?}"),
        }
    }

    fn multi(
        &mut self,
        session: SessionId,
        attach_epoch: u32,
        ops: &[WriteOp],
        zxid: Zxid,
        time_ms: i64,
    ) -> (Vec<Heard>, String) {
        let before = self.nodes.clone();
        let (mut heard, mut shown) = (vec![], vec![]);
        for op in ops {
            match self.write(session, attach_epoch, op, zxid, time_ms) {
                Ok((events, reply)) => {
                    heard.extend(events);
                    shown.push(reply);
                }
                Err(code) => {
                    self.nodes = before;
                    return (vec![], format!("{} failed: {code}", shown.len()));
                }
            }
        }
        (heard, shown.join("; "))
    }

    fn write(
        &mut self,
        session: SessionId,
        attach_epoch: u32,
        op: &WriteOp,
        zxid: Zxid,
        time_ms: i64,
    ) -> Result<(Vec<Heard>, String), ErrorCode> {
        match op {
            WriteOp::Create { path, data, flags, .. } => {
                let mode = CreateMode::from_flags(*flags)?;
                let goes = match flags {
                    1 | 3 => Goes::WithSession,
                    4 => Goes::WithLastChild,
                    5 | 6 => return Err(ErrorCode::BadArguments),
                    _ => Goes::Never,
                };
                self.check(session, attach_epoch)?;
                self.create(path, data.clone(), (goes, mode.is_sequential()), session, zxid, time_ms)
            }
            WriteOp::Reconfig(_) => panic!("nobody asks"),
            WriteOp::CreateContainer { path, data, flags, .. } => {
                let sequential = CreateMode::from_flags(*flags)?.is_sequential();
                if matches!(flags, 5 | 6) {
                    return Err(ErrorCode::BadArguments);
                }
                self.check(session, attach_epoch)?;
                self.create(path, data.clone(), (Goes::WithLastChild, sequential), session, zxid, time_ms)
            }
            WriteOp::CreateTtl { path, data, flags, ttl_ms, .. } => {
                if !matches!(flags, 5 | 6) || *ttl_ms <= 0 {
                    return Err(ErrorCode::BadArguments);
                }
                self.check(session, attach_epoch)?;
                self.create(path, data.clone(), (Goes::AfterMs(*ttl_ms), *flags == 6), session, zxid, time_ms)
            }
            WriteOp::Delete { path, version } => {
                self.check(session, attach_epoch)?;
                self.delete(path, *version, zxid)
            }
            WriteOp::SetData { path, data, version } => {
                self.check(session, attach_epoch)?;
                path::validate(path)?;
                let node = self.nodes.get_mut(path).ok_or(ErrorCode::NoNode)?;
                if path == "/zookeeper/config" {
                    return Err(ErrorCode::NoAuth);
                }
                check_version(*version, node.stat.version)?;
                node.data = data.clone();
                node.stat.version += 1;
                (node.stat.mzxid, node.stat.mtime_ms) = (zxid, time_ms);
                Ok((vec![(EventKind::NodeDataChanged, path.clone())], format!("{:?}", self.stat(path))))
            }
            WriteOp::Check { path, version } => {
                self.check(session, attach_epoch)?;
                path::validate(path)?;
                let node = self.nodes.get(path).ok_or(ErrorCode::NoNode)?;
                check_version(*version, node.stat.version)?;
                Ok((vec![], "done".into()))
            }
            // The model has no lists: they are left out where they could succeed.
            WriteOp::SetAcl { .. } | WriteOp::Multi { .. } => Err(ErrorCode::BadArguments),
        }
    }

    fn check(&self, session: SessionId, attach_epoch: u32) -> Result<(), ErrorCode> {
        match self.sessions.get(&session) {
            None => Err(ErrorCode::SessionExpired),
            Some(&epoch) if epoch != attach_epoch => Err(ErrorCode::SessionMoved),
            Some(_) => Ok(()),
        }
    }

    fn create(
        &mut self,
        asked: &str,
        data: Option<Bytes>,
        (goes, sequential): (Goes, bool),
        session: SessionId,
        zxid: Zxid,
        time_ms: i64,
    ) -> Result<(Vec<Heard>, String), ErrorCode> {
        let parent = parent_of(asked)?;
        let above = self.nodes.get(&parent).ok_or(ErrorCode::NoNode)?.stat;
        if parent == "/zookeeper/config" {
            return Err(ErrorCode::NoAuth);
        }
        let number = if sequential { format!("{:010}", above.cversion) } else { String::new() };
        let path = format!("{asked}{number}");
        path::validate(&path)?;
        if self.nodes.contains_key(&path) {
            return Err(ErrorCode::NodeExists);
        }
        if above.ephemeral_owner != 0 {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }
        let stat = Stat {
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            ctime_ms: time_ms,
            mtime_ms: time_ms,
            ephemeral_owner: if goes == Goes::WithSession { session.0 } else { 0 },
            ..Stat::default()
        };
        self.nodes.insert(path.clone(), Node { data, stat, goes });
        let above = self.nodes.get_mut(&parent).expect("was found");
        above.stat.cversion += 1;
        above.stat.pzxid = zxid;
        let events = vec![(EventKind::NodeCreated, path.clone()), (EventKind::NodeChildrenChanged, parent)];
        Ok((events, format!("{path} {:?}", self.stat(&path))))
    }

    fn delete(&mut self, path: &str, version: i32, zxid: Zxid) -> Result<(Vec<Heard>, String), ErrorCode> {
        let parent = parent_of(path)?;
        if matches!(path, "/" | "/zookeeper" | "/zookeeper/quota" | "/zookeeper/config") {
            return Err(ErrorCode::BadArguments);
        }
        self.nodes.get(&parent).ok_or(ErrorCode::NoNode)?;
        if parent == "/zookeeper/config" {
            return Err(ErrorCode::NoAuth);
        }
        let node = self.nodes.get(path).ok_or(ErrorCode::NoNode)?;
        check_version(version, node.stat.version)?;
        if !self.children(path).is_empty() {
            return Err(ErrorCode::NotEmpty);
        }
        Ok((self.remove(path, zxid), "done".into()))
    }

    fn delete_container(
        &mut self,
        path: &str,
        zxid: Zxid,
        time_ms: i64,
    ) -> Result<(Vec<Heard>, String), ErrorCode> {
        let node = self.nodes.get(path).filter(|_| path != "/").ok_or(ErrorCode::NoNode)?;
        if !self.children(path).is_empty() {
            return Err(ErrorCode::NotEmpty);
        }
        let due = match node.goes {
            Goes::Never | Goes::WithSession => false,
            Goes::WithLastChild => node.stat.cversion > 0,
            Goes::AfterMs(ttl_ms) => time_ms - node.stat.mtime_ms > ttl_ms,
        };
        if due { Ok((self.remove(path, zxid), "done".into())) } else { Err(ErrorCode::BadVersion) }
    }

    fn remove(&mut self, path: &str, zxid: Zxid) -> Vec<Heard> {
        self.nodes.remove(path);
        let parent = path::parent(path).expect("not the root").to_owned();
        self.nodes.get_mut(&parent).expect("a parent stays").stat.pzxid = zxid;
        vec![(EventKind::NodeDeleted, path.to_owned()), (EventKind::NodeChildrenChanged, parent)]
    }
}

fn parent_of(path: &str) -> Result<String, ErrorCode> {
    let (parent, _) =
        path.rsplit_once('/').filter(|_| !path.contains('\0')).ok_or(ErrorCode::BadArguments)?;
    Ok(if parent.is_empty() { "/".into() } else { parent.into() })
}

fn check_version(asked: i32, actual: i32) -> Result<(), ErrorCode> {
    if asked == -1 || asked == actual { Ok(()) } else { Err(ErrorCode::BadVersion) }
}

fn heard(events: &[Event]) -> Vec<Heard> {
    events.iter().map(|event| (event.kind, event.path.to_string())).collect()
}

fn show(reply: Reply) -> String {
    match reply {
        Reply::Created { path, stat } => format!("{path} {stat:?}"),
        Reply::Stat(stat) => format!("{stat:?}"),
        Reply::Done => "done".into(),
        Reply::Multi(replies) => replies.into_iter().map(show).collect::<Vec<_>>().join("; "),
        Reply::RolledBack { failed, code } => format!("{failed} failed: {code}"),
        Reply::Session { .. } => "session".into(),
        Reply::ControlEpoch(_) | Reply::Reconfigured { .. } => panic!("nobody asked"),
    }
}

fn assert_same_tree(state: &State, model: &Model) {
    for (path, node) in &model.nodes {
        assert_eq!(state.get_data(path, &[]), Ok((node.data.clone(), model.stat(path))), "{path}");
        let (mut children, stat) = state.get_children(path, &[]).expect("the node is there");
        children.sort_unstable();
        assert_eq!((children, stat), (model.children(path), model.stat(path)), "{path}");
    }
    assert_eq!(state.node_count(), model.nodes.len() + 1);
    let ephemerals = model.nodes.values().filter(|node| node.stat.ephemeral_owner != 0).count();
    assert_eq!(state.ephemerals_count(), ephemerals);
    let sizes = model.nodes.iter().map(|(path, node)| path.len() + node.data.as_ref().map_or(0, Bytes::len));
    assert_eq!(state.approximate_data_size(), sizes.sum::<usize>() as u64);
}

fn command() -> impl Strategy<Value = Command> {
    let op = random::write_op(Just(vec![Acl::open()]))
        .prop_filter("the model has no lists", |op| !matches!(op, WriteOp::SetAcl { .. }));
    let client = random::client_command(op).prop_map(|command| match command {
        Command::Client { session, attach_epoch, op, .. } => {
            Command::Client { session, attach_epoch, identities: vec![], op }
        }
        other => other,
    });
    prop_oneof![12 => client, 2 => random::session_command(), 1 => random::delete_container()]
}

proptest! {
    #[test]
    fn the_state_does_what_the_model_does(commands in vec(command(), 1..120)) {
        let (mut ensemble, mut model) = (Ensemble::new(), Model::new());
        for (time_ms, command) in (1..).zip(commands) {
            ensemble.time_ms = time_ms;
            let outcome = ensemble.apply(command.clone());
            let expected = model.apply(&command, outcome.zxid, time_ms);
            let actual = outcome.result.map(|reply| (heard(&outcome.events), show(reply)));
            prop_assert_eq!(actual, expected, "{:?}", command);
        }
        assert_same_tree(&ensemble.state, &model);
    }

    /// Down to the digest, and in what every later command does.
    #[test]
    fn a_multi_that_fails_is_a_refused_write_and_one_of_one_is_its_operation(
        before in vec(random::command(), 0..80),
        multi in random::client_command(vec(random::one_op(Just(vec![Acl::open()])), 1..8)
            .prop_map(|ops| WriteOp::Multi { ops })),
        after in vec(random::command(), 0..20),
    ) {
        let (mut ours, mut other) = (Ensemble::new(), Ensemble::new());
        for command in quota::of_a() {
            prop_assert_eq!(ours.apply(command.clone()), other.apply(command));
        }
        (ours.settings.enforce_quota, other.settings.enforce_quota) = (true, true);
        for command in before {
            prop_assert_eq!(ours.apply(command.clone()), other.apply(command));
        }
        let outcome = ours.apply(multi.clone());
        let expected = match (&outcome.result, alone(multi)) {
            (Ok(Reply::RolledBack { code, .. }) | Err(code), _) => {
                let refused = other.apply(Command::Refused { code: *code });
                let (result, over_quota) = (outcome.result.clone(), outcome.over_quota.clone());
                Outcome { result, over_quota, ..refused }
            }
            (_, Some(command)) => {
                let outcome = other.apply(command);
                Outcome { result: outcome.result.map(|reply| Reply::Multi(vec![reply])), ..outcome }
            }
            _ => return Ok(()),
        };
        prop_assert_eq!(outcome, expected);
        prop_assert_eq!(ours.state.digest(), other.state.digest());
        for command in after {
            prop_assert_eq!(ours.apply(command.clone()), other.apply(command));
        }
        prop_assert_eq!(ours.state.digest(), other.state.digest());
        prop_assert_eq!(ours.state.node_count(), other.state.node_count());
        prop_assert_eq!(ours.state.approximate_data_size(), other.state.approximate_data_size());
    }
}

/// The one operation of a multi, as a command of its own.
fn alone(multi: Command) -> Option<Command> {
    let Command::Client { session, attach_epoch, identities, op: WriteOp::Multi { mut ops } } = multi else {
        return None;
    };
    let op = ops.pop().filter(|_| ops.is_empty())?;
    Some(Command::Client { session, attach_epoch, identities, op })
}
