//! The audit log (`audit.enable`): who changed what, in ZooKeeper's own fields and order.
//!
//! A line for each write of a client of this member, done or refused, and one for each ephemeral that goes with its
//! session. Fields are `key=value` with tabs between; whatever a client chose is escaped, so that no name can end a line,
//! forge a field or move a cursor. Digests in lists are left out: they are as good as passwords.
//!
//! Lines go through a queue to a thread of their own, since the apply thread must not wait for a log. If that is slower
//! than the writes, lines are lost, and how many is said in the log itself.

use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use zke_tree::{Applied, Command, Reply, WriteOp};
use zke_wire::{Acl, CreateMode, EventKind, Id, SessionId, perms};

/// A second of writes, or less.
const QUEUE_LINES: usize = 16_384;
/// That many lines of ordinary length. Names are as long as a message may be, so a number alone would be no bound.
const QUEUE_BYTES: usize = 8 << 20;

#[derive(Debug)]
pub struct Audit {
    lines: SyncSender<String>,
    queue: Arc<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    /// Of the lines that wait.
    bytes: AtomicUsize,
    /// Lines, since that was last said.
    lost: AtomicU64,
}

impl Audit {
    /// Starts the thread that writes the lines; it ends when this value and what waits is gone.
    ///
    /// # Errors
    /// If the system has no thread for it.
    pub fn start() -> io::Result<Self> {
        let (lines, waiting) = sync_channel::<String>(QUEUE_LINES);
        let queue = Arc::new(Queue::default());
        let shared = Arc::clone(&queue);
        thread::Builder::new().name("audit".to_owned()).spawn(move || {
            for line in waiting {
                tracing::info!(target: "audit", "{line}");
                shared.bytes.fetch_sub(line.len(), Relaxed);
                let lost = shared.lost.swap(0, Relaxed);
                if lost > 0 {
                    tracing::warn!(target: "audit", lost, "lines of the audit log were lost: writes came faster");
                }
            }
        })?;
        Ok(Self { lines, queue })
    }

    /// Notes that this server starts or stops.
    pub fn server(&self, operation: &str) {
        self.put(format!("user=zkd\toperation={operation}\tresult=success"));
    }

    /// Notes a command of a client of this member, whose address is `ip`.
    pub fn client(&self, applied: &Applied<'_>, ip: IpAddr) {
        lines(applied.command, &applied.result, ip).into_iter().for_each(|line| self.put(line));
    }

    /// Notes the ephemerals that went with a session which this process closed.
    pub fn session_closed(&self, session: SessionId, applied: &Applied<'_>) {
        let deleted = applied.events.iter().filter(|event| event.kind == EventKind::NodeDeleted);
        for event in deleted {
            let operation = "ephemeralZNodeDeletionOnSessionCloseOrExpire";
            let znode = escaped(&event.path);
            let session = session.0;
            self.put(format!(
                "session=0x{session:x}\tuser=zkd\toperation={operation}\tznode={znode}\tresult=success"
            ));
        }
    }

    /// Waits until no line waits any more: what is left when the process ends is lost.
    pub async fn written(&self) {
        while self.queue.bytes.load(Relaxed) > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn put(&self, line: String) {
        let len = line.len();
        let waiting = self.queue.bytes.fetch_add(len, Relaxed);
        if waiting.saturating_add(len) > QUEUE_BYTES || self.lines.try_send(line).is_err() {
            self.queue.bytes.fetch_sub(len, Relaxed);
            self.queue.lost.fetch_add(1, Relaxed);
        }
    }
}

type Outcome = Result<Reply, zke_wire::ErrorCode>;

fn lines(command: &Command, outcome: &Outcome, ip: IpAddr) -> Vec<String> {
    let Command::Client { session, identities, op, .. } = command else { return Vec::new() };
    let who = format!("session=0x{:x}\tuser={}\tip={ip}", session.0, user(identities));
    match (op, outcome) {
        (WriteOp::Multi { ops }, Ok(Reply::Multi(replies))) => {
            let each = ops.iter().zip(replies).filter_map(|(op, reply)| what(op, Some(reply)));
            each.map(|what| format!("{who}\t{what}\tresult=success")).collect()
        }
        (WriteOp::Multi { .. }, _) => vec![format!("{who}\toperation=multiOperation\tresult=failure")],
        (op, outcome) => {
            let result = if outcome.is_ok() { "success" } else { "failure" };
            let what = what(op, outcome.as_ref().ok());
            what.map(|what| format!("{who}\t{what}\tresult={result}")).into_iter().collect()
        }
    }
}

/// Operation, node and what else there is to say; `None` for what changes nothing.
fn what(op: &WriteOp, reply: Option<&Reply>) -> Option<String> {
    let (operation, path) = match op {
        WriteOp::Create { path, .. }
        | WriteOp::CreateContainer { path, .. }
        | WriteOp::CreateTtl { path, .. } => ("create", path),
        WriteOp::Delete { path, .. } => ("delete", path),
        WriteOp::SetData { path, .. } => ("setData", path),
        WriteOp::SetAcl { path, .. } => ("setAcl", path),
        WriteOp::Reconfig(_) => return Some("operation=reconfig".to_owned()),
        WriteOp::Check { .. } | WriteOp::Multi { .. } => return None,
    };
    // With its number, if it came to be.
    let path = if let Some(Reply::Created { path, .. }) = reply { path } else { path };
    let mut text = format!("operation={operation}\tznode={}", escaped(path));
    let more = match op {
        WriteOp::Create { flags, .. } | WriteOp::CreateTtl { flags, .. } => {
            CreateMode::from_flags(*flags).ok().map(|mode| ("znode_type", name_of(mode).to_owned()))
        }
        WriteOp::CreateContainer { .. } => Some(("znode_type", "container".to_owned())),
        WriteOp::SetAcl { acl, .. } => Some(("acl", list(acl))),
        _ => None,
    };
    if let Some((key, value)) = more {
        write!(text, "\t{key}={value}").expect("writing to a string cannot fail");
    }
    Some(text)
}

fn name_of(mode: CreateMode) -> &'static str {
    match mode {
        CreateMode::Persistent => "persistent",
        CreateMode::Ephemeral => "ephemeral",
        CreateMode::PersistentSequential => "persistent_sequential",
        CreateMode::EphemeralSequential => "ephemeral_sequential",
        CreateMode::Container => "container",
        CreateMode::PersistentTtl => "persistent_with_ttl",
        CreateMode::PersistentSequentialTtl => "persistent_sequential_with_ttl",
    }
}

/// Whoever has shown who he is, else the address.
fn user(identities: &[Id]) -> String {
    let shown = identities.iter().filter(|id| id.scheme != "ip").map(|id| match id.scheme.as_str() {
        "super" => "super".to_owned(),
        _ => escaped(public(id)),
    });
    let shown: Vec<String> = shown.collect();
    if shown.is_empty() {
        identities.first().map_or_else(String::new, |id| escaped(&id.id))
    } else {
        shown.join(",")
    }
}

/// What follows a digest's colon is as good as a password.
fn public(id: &Id) -> &str {
    if id.scheme == "digest" { id.id.split(':').next().unwrap_or_default() } else { &id.id }
}

fn list(acl: &[Acl]) -> String {
    let letters = [
        (perms::CREATE, 'c'),
        (perms::DELETE, 'd'),
        (perms::READ, 'r'),
        (perms::WRITE, 'w'),
        (perms::ADMIN, 'a'),
    ];
    let entries = acl.iter().map(|Acl { perms, id }| {
        let allowed: String =
            letters.iter().filter(|(perm, _)| perms & perm != 0).map(|(_, letter)| letter).collect();
        format!("{}:{}:{allowed}", escaped(&id.scheme), escaped(public(id)))
    });
    entries.collect::<Vec<_>>().join(",")
}

/// On one line, whatever stands in it; quotes are harmless and stay readable.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '"' | '\'') { out.push(c) } else { out.extend(c.escape_debug()) }
    }
    out
}

#[cfg(test)]
mod tests {
    use zke_wire::ErrorCode;

    use super::*;

    fn of(op: WriteOp, outcome: Outcome) -> Vec<String> {
        let identities = vec![Id::new("ip", "10.0.0.7")];
        let command = Command::Client { session: SessionId(0x1934), attach_epoch: 0, identities, op };
        lines(&command, &outcome, [10, 0, 0, 7].into())
    }

    fn create(path: &str, flags: i32) -> WriteOp {
        WriteOp::Create { path: path.to_owned(), data: None, acl: vec![], flags, with_stat: false }
    }

    #[test]
    fn fields_are_zookeeper_s_in_its_order() {
        let stat = zke_wire::Stat::default();
        let created = Ok(Reply::Created { path: "/a0000000003".to_owned(), stat });
        let who = "session=0x1934\tuser=10.0.0.7\tip=10.0.0.7";
        let expected =
            "operation=create\tznode=/a0000000003\tznode_type=ephemeral_sequential\tresult=success";
        assert_eq!(of(create("/a", 3), created), [format!("{who}\t{expected}")]);
        let expected = "operation=create\tznode=/a\tznode_type=persistent\tresult=failure";
        assert_eq!(of(create("/a", 0), Err(ErrorCode::NoAuth)), [format!("{who}\t{expected}")]);
        let set_acl = WriteOp::SetAcl {
            path: "/a".to_owned(),
            acl: vec![Acl { perms: 5, id: Id::new("digest", "u:hash=") }, Acl::open()],
            version: -1,
        };
        let expected = "operation=setAcl\tznode=/a\tacl=digest:u:cr,world:anyone:cdrwa\tresult=success";
        assert_eq!(of(set_acl, Ok(Reply::Stat(stat))), [format!("{who}\t{expected}")]);
    }

    #[test]
    fn a_multi_is_its_operations_or_one_failure() {
        let ops = || {
            vec![
                WriteOp::Check { path: "/".to_owned(), version: 1 },
                WriteOp::Delete { path: "/a".to_owned(), version: 1 },
            ]
        };
        let done = of(WriteOp::Multi { ops: ops() }, Ok(Reply::Multi(vec![Reply::Done, Reply::Done])));
        assert_eq!(done.len(), 1);
        assert!(done[0].ends_with("\toperation=delete\tznode=/a\tresult=success"), "{done:?}");
        let rolled_back = Reply::RolledBack { failed: 1, code: ErrorCode::NoNode };
        let failed = of(WriteOp::Multi { ops: ops() }, Ok(rolled_back));
        assert!(failed[0].ends_with("\toperation=multiOperation\tresult=failure"), "{failed:?}");
    }

    #[test]
    fn names_cannot_forge_a_line() {
        let lines = of(create("/a\n\u{1b}[2J\tresult=success\0\u{202e}\\", 0), Err(ErrorCode::BadArguments));
        let expected =
            "znode=/a\\n\\u{1b}[2J\\tresult=success\\0\\u{202e}\\\\\tznode_type=persistent\tresult=failure";
        assert!(lines[0].ends_with(expected), "{lines:?}");
        assert!(!lines[0].chars().any(|c| c.is_control() && c != '\t'), "{lines:?}");
    }

    #[test]
    fn long_names_do_not_fill_the_memory() {
        let (lines, waiting) = sync_channel(QUEUE_LINES);
        let audit = Audit { lines, queue: Arc::default() };
        (0..20).for_each(|_| audit.put("x".repeat(1 << 20)));
        assert_eq!((waiting.try_iter().count(), audit.queue.lost.load(Relaxed)), (8, 12));
    }

    #[test]
    fn users_are_named_without_their_digests() {
        let identities = [Id::new("ip", "10.0.0.7"), Id::new("digest", "ann:c2VjcmV0"), Id::new("super", "")];
        assert_eq!(user(&identities), "ann,super");
    }
}
