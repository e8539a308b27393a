//! Client writes: what each checks, in which order, and what it does.
//!
//! The order of checks is that of ZooKeeper's `PrepRequestProcessor`, since it decides which error a client sees.
//! Nothing is changed before the last check, so a write that fails leaves nothing behind but its zxid. The operations
//! of a multi change the tree one after the other, and are taken back if one fails.

use std::collections::BTreeSet;
use std::sync::Arc;

use zke_wire::{Acl, CreateMode, ErrorCode, EventKind, Id, SessionId, Zxid, path, perms};

use crate::acl;
use crate::command::WriteOp;
use crate::configuration::{CONFIG_PATH, CONFIG_VERSION, Configuration, Reconfig};
use crate::event::{Event, Reply, Table};
use crate::owner::{Owner, TTL_MS_MAX};
use crate::proposal::Settings;
use crate::quota::{self, OverQuota, Quota, Usage};
use crate::session::{Session, Sessions};
use crate::tree::{NewNode, Place, Tree};
use crate::undo::Undo;

/// What happens at one zxid.
pub(crate) struct Transaction<'a> {
    pub tree: &'a mut Tree,
    pub sessions: &'a mut Sessions,
    pub zxid: Zxid,
    pub time_ms: i64,
    pub settings: Settings,
    pub events: &'a mut Vec<Event>,
    pub over_quota: &'a mut Vec<OverQuota>,
    /// What was changed so far, in a multi.
    pub undo: Option<Vec<Undo>>,
}

/// Who asks.
#[derive(Clone, Copy)]
struct Client<'a> {
    session: SessionId,
    attach_epoch: u32,
    identities: &'a [Id],
}

/// What kind of node a create makes.
#[derive(Clone, Copy)]
struct Kind {
    owner: Owner,
    sequential: bool,
}

impl Kind {
    /// Of a create without a TTL.
    fn of(mode: CreateMode, session: SessionId) -> Result<Kind, ErrorCode> {
        let owner = match mode {
            CreateMode::Persistent | CreateMode::PersistentSequential => Owner::Nobody,
            CreateMode::Ephemeral | CreateMode::EphemeralSequential => Owner::Session(session),
            // ZooKeeper makes a persistent node of it, and its digests differ then: surely nobody wants that.
            CreateMode::Container => Owner::Container,
            CreateMode::PersistentTtl | CreateMode::PersistentSequentialTtl => {
                return Err(ErrorCode::BadArguments);
            }
        };
        Ok(Kind { owner, sequential: mode.is_sequential() })
    }

    /// Whatever else the flags say, it is a container: but not with a time to live, of which there is none to say.
    fn of_container(mode: CreateMode) -> Result<Kind, ErrorCode> {
        if mode.is_ttl() {
            return Err(ErrorCode::BadArguments);
        }
        Ok(Kind { owner: Owner::Container, sequential: mode.is_sequential() })
    }

    fn of_ttl(mode: CreateMode, ttl_ms: i64) -> Result<Kind, ErrorCode> {
        if !mode.is_ttl() || !(1..=TTL_MS_MAX).contains(&ttl_ms) {
            return Err(ErrorCode::BadArguments);
        }
        Ok(Kind { owner: Owner::Ttl { ttl_ms }, sequential: mode.is_sequential() })
    }
}

impl Transaction<'_> {
    pub fn write(
        mut self,
        session: SessionId,
        attach_epoch: u32,
        identities: &[Id],
        op: &WriteOp,
    ) -> Result<Reply, ErrorCode> {
        let client = Client { session, attach_epoch, identities };
        match op {
            WriteOp::Multi { ops } => self.multi(client, ops),
            op => self.one(client, op),
        }
    }

    fn multi(mut self, client: Client<'_>, ops: &[WriteOp]) -> Result<Reply, ErrorCode> {
        self.sessions.check(client.session, client.attach_epoch)?;
        self.undo = Some(Vec::with_capacity(ops.len()));
        let mut replies = Vec::with_capacity(ops.len());
        for op in ops {
            let done = match op {
                WriteOp::SetAcl { .. } => Err(ErrorCode::BadArguments),
                op => self.one(client, op),
            };
            match done {
                Ok(reply) => replies.push(reply),
                Err(code) => {
                    self.roll_back();
                    return Ok(Reply::RolledBack { failed: replies.len(), code });
                }
            }
        }
        Ok(Reply::Multi(replies))
    }

    fn roll_back(&mut self) {
        self.events.clear();
        // What was refused is told; what was let through did not happen.
        self.over_quota.retain(|over| over.refused);
        for undo in self.undo.take().into_iter().flatten().rev() {
            undo.take_back(self.tree, self.sessions);
        }
    }

    fn one(&mut self, client: Client<'_>, op: &WriteOp) -> Result<Reply, ErrorCode> {
        match op {
            WriteOp::Create { path, data, acl, flags, with_stat: _ } => {
                let mode = CreateMode::from_flags(*flags)?;
                let kind = Kind::of(mode, client.session)?;
                self.create(client, path, data.as_deref(), acl, kind)
            }
            WriteOp::CreateContainer { path, data, acl, flags } => {
                let kind = Kind::of_container(CreateMode::from_flags(*flags)?)?;
                self.create(client, path, data.as_deref(), acl, kind)
            }
            WriteOp::CreateTtl { path, data, acl, flags, ttl_ms } => {
                let kind = Kind::of_ttl(CreateMode::from_flags(*flags)?, *ttl_ms)?;
                self.create(client, path, data.as_deref(), acl, kind)
            }
            WriteOp::Delete { path, version } => self.delete(client, path, *version),
            WriteOp::SetData { path, data, version } => {
                self.set_data(client, path, data.as_deref(), *version)
            }
            WriteOp::SetAcl { path, acl, version } => self.set_acl(client, path, acl, *version),
            WriteOp::Check { path, version } => self.check(client, path, *version),
            WriteOp::Multi { .. } | WriteOp::Reconfig(_) => Err(ErrorCode::BadArguments),
        }
    }

    pub fn create_session(
        self,
        id: SessionId,
        password: [u8; 16],
        timeout_ms: i32,
    ) -> Result<Reply, ErrorCode> {
        if !Owner::may_be(id) || self.sessions.get(id).is_some() {
            return Err(ErrorCode::BadArguments);
        }
        let session = Session::new(id, password, timeout_ms);
        let reply = Reply::of_session(&session);
        self.sessions.insert(session);
        Ok(reply)
    }

    pub fn close_session(mut self, id: SessionId, attach_epoch: u32) -> Result<Reply, ErrorCode> {
        self.sessions.check(id, attach_epoch)?;
        let ephemerals = self.sessions.remove(id).map_or_else(BTreeSet::new, |session| session.ephemerals);
        // Slots differ between members; the order of events must not.
        let paths: BTreeSet<String> = ephemerals.into_iter().map(|slot| self.tree.path_of(slot)).collect();
        #[cfg(feature = "fault")]
        let paths =
            if crate::fault::is_on("left-ephemeral") { paths.into_iter().skip(1).collect() } else { paths };
        for path in &paths {
            let (parent, node) = self.tree.find_with_parent(path).expect("sessions own nodes that are there");
            self.remove(parent, node, path);
        }
        Ok(Reply::Done)
    }

    /// Writes what the change makes of `current`, the configuration that stands there.
    pub fn reconfig(
        mut self,
        session: SessionId,
        attach_epoch: u32,
        identities: &[Id],
        current: Option<Configuration>,
        change: &Reconfig,
    ) -> Result<Reply, ErrorCode> {
        /// With fewer, ZooKeeper would have to turn into another kind of server.
        const VOTERS_MIN: usize = 2;
        self.sessions.check(session, attach_epoch)?;
        if !self.settings.reconfig_enabled {
            return Err(ErrorCode::ReconfigDisabled);
        }
        // A server alone has none.
        let current = current.ok_or(ErrorCode::Unimplemented)?;
        let voters_min = if self.settings.single_voter_allowed { 1 } else { VOTERS_MIN };
        let next = current.after(change, self.zxid, voters_min)?;
        let place = self.tree.find(CONFIG_PATH).ok_or(ErrorCode::NoNode)?;
        acl::check(self.tree.acl(place), perms::WRITE, identities)?;
        Ok(self.write_configuration(place, &next))
    }

    /// No client asks for it, so no list is checked.
    pub fn configure(mut self, servers: &str) -> Result<Reply, ErrorCode> {
        let configuration = Configuration::of_lines(servers, self.zxid)?;
        let place = self.tree.find(CONFIG_PATH).ok_or(ErrorCode::NoNode)?;
        Ok(self.write_configuration(place, &configuration))
    }

    fn write_configuration(&mut self, place: Place, configuration: &Configuration) -> Reply {
        let text = configuration.to_string();
        self.tree.set_data_at(place, CONFIG_VERSION, text.as_bytes(), self.zxid, self.time_ms);
        let acl = self.tree.acl(place).clone();
        self.event(EventKind::NodeDataChanged, CONFIG_PATH, Table::Data, acl);
        Reply::Reconfigured { text: text.into(), stat: self.tree.stat(place) }
    }

    /// No client asks for it, so no list is checked.
    pub fn delete_container(mut self, path: &str) -> Result<Reply, ErrorCode> {
        let (parent, node) = self.tree.find_with_parent(path).ok_or(ErrorCode::NoNode)?;
        if self.tree.extra(node.slot).num_children > 0 {
            return Err(ErrorCode::NotEmpty);
        }
        if !self.tree.is_outlived(node.slot, self.time_ms) {
            return Err(ErrorCode::BadVersion);
        }
        self.remove(parent, node, path);
        Ok(Reply::Done)
    }

    fn create(
        &mut self,
        client: Client<'_>,
        path: &str,
        data: Option<&[u8]>,
        acl: &[Acl],
        kind: Kind,
    ) -> Result<Reply, ErrorCode> {
        self.sessions.check(client.session, client.attach_epoch)?;
        let (parent_path, _) = split(path)?;
        let acl = acl::stored_form(acl, client.identities)?;
        let parent = self.tree.find(parent_path).ok_or(ErrorCode::NoNode)?;
        acl::check(self.tree.acl(parent), perms::CREATE, client.identities)?;
        let parent_extra = self.tree.extra(parent.slot);
        let path =
            if kind.sequential { format!("{path}{:010}", parent_extra.cversion) } else { path.to_owned() };
        path::validate(&path)?;
        let name = path::name(&path);
        if self.tree.find(&path).is_some() {
            return Err(ErrorCode::NodeExists);
        }
        if parent_extra.owner().session().is_some() {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }
        let quota = self.within_quota(&path, Usage::of_created(data))?;
        let (owner, zxid, time_ms) = (kind.owner, self.zxid, self.time_ms);
        let node = self.tree.insert(parent, &NewNode { name, data, acl: &acl, owner, zxid, time_ms });
        if let Some(session) = owner.session() {
            self.sessions.own(session, node.slot);
        }
        self.remember(|| Undo::Create { path: path.clone(), parent: parent_extra });
        self.use_quota(quota, Usage::of_created(data));
        self.keep_usage(quota::begun(self.tree, &path));
        let stored = self.tree.acl(node).clone();
        self.event(EventKind::NodeCreated, &path, Table::Data, stored);
        self.children_changed(parent, &path);
        Ok(Reply::Created { stat: self.tree.stat(node), path })
    }

    fn delete(&mut self, client: Client<'_>, path: &str, version: i32) -> Result<Reply, ErrorCode> {
        self.sessions.check(client.session, client.attach_epoch)?;
        let (parent_path, _) = split(path)?;
        if matches!(path, "/" | "/zookeeper" | "/zookeeper/quota" | "/zookeeper/config") {
            return Err(ErrorCode::BadArguments);
        }
        let parent = self.tree.find(parent_path).ok_or(ErrorCode::NoNode)?;
        acl::check(self.tree.acl(parent), perms::DELETE, client.identities)?;
        let node = self.tree.find(path).ok_or(ErrorCode::NoNode)?;
        check_version(self.tree.node(node).version, version)?;
        let extra = self.tree.extra(node.slot);
        if extra.num_children > 0 {
            return Err(ErrorCode::NotEmpty);
        }
        if let Some(session) = extra.owner().session() {
            self.sessions.disown(session, node.slot);
        }
        self.remove(parent, node, path);
        Ok(Reply::Done)
    }

    fn set_data(
        &mut self,
        client: Client<'_>,
        path: &str,
        data: Option<&[u8]>,
        version: i32,
    ) -> Result<Reply, ErrorCode> {
        self.sessions.check(client.session, client.attach_epoch)?;
        path::validate(path)?;
        let node = self.tree.find(path).ok_or(ErrorCode::NoNode)?;
        acl::check(self.tree.acl(node), perms::WRITE, client.identities)?;
        if path == CONFIG_PATH {
            // ZooKeeper lets it be overwritten; but clients find their servers there, and that is what reconfig is for.
            return Err(ErrorCode::BadArguments);
        }
        let change = Usage::of_written(self.tree.node(node).data_len(), data);
        let quota = self.within_quota(path, change)?;
        check_version(self.tree.node(node).version, version)?;
        let before = self.tree.set_data(node, data, self.zxid, self.time_ms);
        self.remember(|| Undo::SetData { path: path.to_owned(), before });
        self.use_quota(quota, change);
        let acl = self.tree.acl(node).clone();
        self.event(EventKind::NodeDataChanged, path, Table::Data, acl);
        Ok(Reply::Stat(self.tree.stat(node)))
    }

    fn set_acl(
        &mut self,
        client: Client<'_>,
        path: &str,
        acl: &[Acl],
        version: i32,
    ) -> Result<Reply, ErrorCode> {
        self.sessions.check(client.session, client.attach_epoch)?;
        path::validate(path)?;
        let acl = acl::stored_form(acl, client.identities)?;
        let node = self.tree.find(path).ok_or(ErrorCode::NoNode)?;
        acl::check(self.tree.acl(node), perms::ADMIN, client.identities)?;
        check_version(self.tree.node(node).aversion, version)?;
        self.tree.set_acl(node, &acl);
        Ok(Reply::Stat(self.tree.stat(node)))
    }

    fn check(&mut self, client: Client<'_>, path: &str, version: i32) -> Result<Reply, ErrorCode> {
        self.sessions.check(client.session, client.attach_epoch)?;
        path::validate(path)?;
        let node = self.tree.find(path).ok_or(ErrorCode::NoNode)?;
        acl::check(self.tree.acl(node), perms::READ, client.identities)?;
        check_version(self.tree.node(node).version, version)?;
        Ok(Reply::Done)
    }

    fn remove(&mut self, parent: Place, place: Place, path: &str) {
        let acl = self.tree.acl(place).clone();
        let before = self.tree.extra(parent.slot);
        let (quota, change) =
            (Quota::of(self.tree, path), Usage::of_removed(self.tree.node(place).data_len()));
        let node = self.tree.remove(parent, place, self.zxid);
        self.remember(|| Undo::Delete { path: path.to_owned(), parent: before, node, acl: acl.clone() });
        self.use_quota(quota, change);
        self.event(EventKind::NodeDeleted, path, Table::Both, acl);
        self.children_changed(parent, path);
    }

    /// The quota that a change falls under, if there is one and it lets it through.
    fn within_quota(&mut self, path: &str, change: Usage) -> Result<Option<Quota>, ErrorCode> {
        let Some(quota) = Quota::of(self.tree, path) else { return Ok(None) };
        let exceeded = quota.exceeded(self.tree, change, self.settings.enforce_quota);
        let refused = exceeded.iter().any(|over| over.refused);
        self.over_quota.extend(exceeded);
        if refused { Err(ErrorCode::QuotaExceeded) } else { Ok(Some(quota)) }
    }

    fn use_quota(&mut self, quota: Option<Quota>, change: Usage) {
        let usage = quota.map(|quota| quota.changed(self.tree, change));
        self.keep_usage(usage);
    }

    fn keep_usage(&mut self, usage: Option<(Place, String, Vec<u8>)>) {
        let Some((place, path, usage)) = usage else { return };
        let before = self.tree.refill(place, &usage);
        self.remember(|| Undo::SetData { path, before });
    }

    fn remember(&mut self, undo: impl FnOnce() -> Undo) {
        if let Some(changes) = &mut self.undo {
            changes.push(undo());
        }
    }

    fn children_changed(&mut self, parent: Place, child_path: &str) {
        let acl = self.tree.acl(parent).clone();
        let path = path::parent(child_path).unwrap_or("/");
        self.event(EventKind::NodeChildrenChanged, path, Table::Child, acl);
    }

    fn event(&mut self, kind: EventKind, path: &str, table: Table, acl: Arc<[Acl]>) {
        self.events.push(Event { kind, path: path.into(), table, acl, zxid: self.zxid });
    }
}

/// Parent and name, as far as create and delete look at a path before anything else.
fn split(path: &str) -> Result<(&str, &str), ErrorCode> {
    path.rsplit_once('/').filter(|_| !path.contains('\0')).ok_or(ErrorCode::BadArguments)
}

fn check_version(actual: i32, expected: i32) -> Result<(), ErrorCode> {
    if expected == -1 || expected == actual { Ok(()) } else { Err(ErrorCode::BadVersion) }
}
