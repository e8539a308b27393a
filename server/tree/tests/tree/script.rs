//! Runs `tests/scripts/*.txt`.
//!
//! A script is a list of blocks with blank lines between: comment lines (`#`), command lines, a line `----`, and what
//! the commands print. With `UPDATE_SCRIPTS=1` in the environment the expected output is rewritten, to be reviewed.
//!
//! | command | does |
//! | --- | --- |
//! | `term` · `time MS` | a new leader's first entry · the leader's clock from now on |
//! | `begin NAME TIMEOUT_MS` · `attach NAME TIMEOUT_MS [PASSWORD]` · `end NAME [ATTACH_EPOCH]` | sessions; NAME is a letter |
//! | `epoch NAME ATTACH_EPOCH` | that client's connection is the one of this epoch from now on |
//! | `auth NAME SCHEME:ID` | one more identity of that client's connection |
//! | `NAME create PATH [DATA] [e] [s] [container] [ttl=MS] [flags=N] [data=DATA] [acl=PERMS@SCHEME:ID,…]` | likewise `delete PATH [VERSION]`, `set PATH DATA [VERSION]`, `setacl PATH ACL [VERSION]` |
//! | `NAME check PATH [VERSION]` · `NAME multi WRITE ; WRITE ; …` | WRITE is one of the above without its NAME |
//! | `NAME get·exists·stat·ls·getacl·below PATH` · `NAME ephemerals PREFIX` | reads |
//! | `NAME watch data·exist·child·persistent·recursive PATH` · `NAME armed·unwatch KIND PATH` (a number of the wire) · `NAME setwatches ZXID [data=PATH] [exist=PATH] [child=PATH]` | watches |
//! | `outlived` · `reap PATH` | containers and TTL nodes that are due to go · the leader's command to remove one |
//! | `control`, `serve EPOCH on·off`, `retire EPOCH MEMBER`, `raise EPOCH`, `refuse CODE` | the operator's and the leader's commands |
//! | `configure ZXID LINES` · `NAME reconfig [joining=LINES] [leaving=IDS] [members=LINES] [from=ZXID]` | the servers that clients are shown |
//! | `quotas on·off` · `reconfigs on·off` | whether the leader has hard quotas enforced · lets clients change the ensemble |
//! | `counts` | of nodes, watches, sessions |
//!
//! `-` as DATA is no data, `""` is empty. A write prints its zxid and result, then who hears of what.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use bytes::Bytes;
use zke_tree::{Command, MemberId, Missed, Reconfig, Reply, WatchKind, WatchTable, WriteOp, may_read};
use zke_wire::{Acl, ErrorCode, Id, SessionId, Stat, Zxid, perms};

use crate::ensemble::{Ensemble, Outcome};

#[test]
fn scripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths {
        let script = std::fs::read_to_string(&path).expect("a script");
        let actual = run(&script);
        if std::env::var_os("UPDATE_SCRIPTS").is_some() {
            std::fs::write(&path, actual).expect("a script is rewritten");
        } else {
            assert!(actual == script, "{} prints something else:\n{actual}", path.display());
        }
    }
}

/// The script with the output that its commands really have.
fn run(script: &str) -> String {
    let mut player = Player::new();
    let blocks = script.trim_end().split("\n\n").map(|block| {
        let commands = block.split("\n----").next().unwrap_or_default();
        let mut output = String::new();
        let lines = commands.lines().filter(|line| !line.starts_with('#'));
        for line in lines.clone() {
            player.run(line, &mut output).unwrap_or_else(|| panic!("no such command: {line}"));
        }
        if lines.count() == 0 {
            commands.to_owned()
        } else {
            format!("{commands}\n----\n{}", output.trim_end())
        }
    });
    blocks.collect::<Vec<_>>().join("\n\n") + "\n"
}

struct Player {
    ensemble: Ensemble,
    watches: WatchTable<char>,
    clients: BTreeMap<char, Client>,
}

#[derive(Default)]
struct Client {
    attach_epoch: u32,
    identities: Vec<Id>,
}

impl Player {
    fn new() -> Self {
        Self { ensemble: Ensemble::new(), watches: WatchTable::new(), clients: BTreeMap::new() }
    }

    /// None if the line is no command.
    fn run(&mut self, line: &str, out: &mut String) -> Option<()> {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["term"] => self.ensemble.elect(),
            ["time", ms] => self.ensemble.time_ms = ms.parse().ok()?,
            ["quotas", enforced] => self.ensemble.settings.enforce_quota = enforced == "on",
            ["reconfigs", enabled] => self.ensemble.settings.reconfig_enabled = enabled == "on",
            ["configure", expect, servers] => {
                let (expect, servers) = (parse_zxid(expect)?, servers.to_owned());
                self.apply(Command::Configure { expect, servers }, out);
            }
            ["counts"] => self.counts(out),
            ["auth", name, id] => self.client(name)?.identities.push(parse_id(id)?),
            ["epoch", name, epoch] => self.client(name)?.attach_epoch = epoch.parse().ok()?,
            ["begin", name, timeout_ms] => {
                self.clients.insert(letter(name)?, Client::default());
                let (session, timeout_ms) = (session_of(letter(name)?), timeout_ms.parse().ok()?);
                self.apply(Command::CreateSession { session, password: [7; 16], timeout_ms }, out);
            }
            ["attach", name, timeout_ms, ref password @ ..] => {
                let password = [password.first().map_or(Some(7), |password| password.parse().ok())?; 16];
                let (session, timeout_ms) = (session_of(letter(name)?), timeout_ms.parse().ok()?);
                let outcome = self.apply(Command::AttachSession { session, password, timeout_ms }, out);
                if let Ok(Reply::Session { attach_epoch, .. }) = outcome.result {
                    self.client(name)?.attach_epoch = attach_epoch;
                }
            }
            ["end", name, ref epoch @ ..] => {
                let session = session_of(letter(name)?);
                let attach_epoch = match epoch.first() {
                    Some(epoch) => epoch.parse().ok()?,
                    None => self.client(name)?.attach_epoch,
                };
                self.apply(Command::CloseSession { session, attach_epoch }, out);
            }
            ["control"] => drop(self.apply(Command::TakeControl {}, out)),
            ["serve", epoch, serving] => {
                let (control_epoch, serving) = (epoch.parse().ok()?, serving == "on");
                self.apply(Command::SetServing { control_epoch, serving }, out);
                _ = writeln!(out, "serving: {}", self.ensemble.state.serving());
            }
            ["retire", epoch, member] => {
                let (control_epoch, member) = (epoch.parse().ok()?, MemberId(member.parse().ok()?));
                self.apply(Command::RetireMember { control_epoch, member }, out);
                _ = writeln!(out, "retired: {}", self.ensemble.state.is_retired(member));
            }
            ["raise", to] => {
                self.apply(Command::RaiseEpoch { to: to.parse().ok()? }, out);
            }
            ["level", to] => {
                self.apply(Command::RaiseApplyLevel { to: to.parse().ok()? }, out);
                _ = writeln!(out, "level: {}", self.ensemble.state.apply_level());
            }
            ["reap", path] => drop(self.apply(Command::DeleteContainer { path: path.into() }, out)),
            ["outlived"] => {
                let state = &self.ensemble.state;
                _ = writeln!(
                    out,
                    "outlived: {}",
                    state.outlived(self.ensemble.time_ms, usize::MAX).join(" ")
                );
            }
            ["refuse", code] => {
                let code = ErrorCode::from_code(code.parse().ok()?)?;
                self.apply(Command::Refused { code }, out);
            }
            [name, ref request @ ..] => self.request(name, request, out)?,
            [] => return None,
        }
        Some(())
    }

    fn request(&mut self, name: &str, request: &[&str], out: &mut String) -> Option<()> {
        let watcher = letter(name)?;
        let identities = self.client(name)?.identities.clone();
        let state = &self.ensemble.state;
        match *request {
            ["get", path] => print(out, state.get_data(path, &identities), |(data, stat)| {
                let data = data.map_or("-".into(), |data| format!("{:?}", String::from_utf8_lossy(&data)));
                format!("{data} version {}", stat.version)
            }),
            ["exists" | "stat", path] => print(out, state.exists(path, &identities), |stat| show_stat(&stat)),
            ["ls", path] => print(out, state.get_children(plain(path), &identities), |(mut names, _)| {
                names.sort_unstable();
                names.join(" ")
            }),
            ["getacl", path] => print(out, state.get_acl(path, &identities), |(acl, stat)| {
                format!("{} aversion {}", show_acl(&acl), stat.aversion)
            }),
            ["below", path] => {
                print(out, state.all_children_number(path, &identities), |number| number.to_string());
            }
            ["ephemerals", prefix] => {
                _ = writeln!(out, "{:?}", state.ephemerals(session_of(watcher), plain(prefix)));
            }
            ["watch", "data" | "exist", path] => self.watches.arm_data(path, watcher),
            ["watch", "child", path] => self.watches.arm_child(path, watcher),
            ["watch", "persistent", path] => self.watches.arm_persistent(path, watcher),
            ["watch", "recursive", path] => self.watches.arm_recursive(path, watcher),
            ["armed", kind, path] => {
                let kind = WatchKind::from_i32(kind.parse().ok()?)?;
                _ = writeln!(out, "armed: {}", self.watches.is_armed(path, kind, watcher));
            }
            ["unwatch", kind, path] => {
                let kind = WatchKind::from_i32(kind.parse().ok()?)?;
                _ = writeln!(out, "removed: {}", self.watches.disarm(path, kind, watcher));
            }
            ["setwatches", zxid, ref paths @ ..] => {
                let last_zxid_seen = parse_zxid(zxid)?;
                let of = |kind: &str| {
                    paths.iter().filter_map(|path| Some(path.strip_prefix(kind)?.to_owned())).collect()
                };
                let missed = Missed::since(
                    state,
                    last_zxid_seen,
                    of("data="),
                    of("exist="),
                    of("child="),
                    &identities,
                );
                for event in &missed.events {
                    _ = writeln!(out, "  {watcher} hears {:?} {}", event.kind, event.path);
                }
                self.watches.arm_all(&missed, watcher);
                _ = writeln!(out, "armed: data {:?}, child {:?}", missed.arm_data, missed.arm_child);
            }
            _ => {
                let op = parse_write(request)?;
                let attach_epoch = self.client(name)?.attach_epoch;
                self.apply(
                    Command::Client { session: session_of(watcher), attach_epoch, identities, op },
                    out,
                );
            }
        }
        Some(())
    }

    fn apply(&mut self, command: Command, out: &mut String) -> Outcome {
        let outcome = self.ensemble.apply(command);
        let state = &self.ensemble.state;
        _ = write!(out, "{} ", outcome.zxid);
        if let Ok(Reply::Created { path, stat }) = &outcome.result {
            assert_eq!(state.exists(path, &[Id::new("super", "")]), Ok(*stat));
        }
        print(out, outcome.result.clone(), show_reply);
        for event in &outcome.events {
            assert_eq!(event.zxid, outcome.zxid);
            let mut watchers = self.watches.trigger(event);
            watchers.sort_unstable();
            for watcher in watchers {
                let reads = may_read(&event.acl, &self.clients[&watcher].identities);
                let hears = if reads { "hears" } else { "may not hear" };
                _ = writeln!(out, "  {watcher} {hears} {:?} {}", event.kind, event.path);
            }
        }
        for over in &outcome.over_quota {
            let what = if over.refused { "refused" } else { "noted" };
            _ = writeln!(
                out,
                "  {what}: {:?} of {} would be {}, the limit is {}",
                over.measure, over.path, over.usage, over.limit
            );
        }
        outcome
    }

    fn counts(&self, out: &mut String) {
        let (state, watches) = (&self.ensemble.state, &self.watches);
        let (nodes, ephemerals) = (state.node_count(), state.ephemerals_count());
        let size = state.approximate_data_size();
        _ = writeln!(
            out,
            "{nodes} nodes, {ephemerals} ephemerals, {size} bytes, {} sessions",
            state.session_count()
        );
        let (count, paths, watchers) = (watches.watches(), watches.paths(), watches.watchers());
        _ = writeln!(out, "{count} watches on {paths} paths by {watchers} watchers");
    }

    fn client(&mut self, name: &str) -> Option<&mut Client> {
        self.clients.get_mut(&letter(name)?)
    }
}

fn show_reply(reply: Reply) -> String {
    match reply {
        Reply::Created { path, .. } => format!("created {path}"),
        Reply::Stat(stat) => show_stat(&stat),
        Reply::Done => "done".into(),
        Reply::Multi(replies) => {
            let lines = replies.into_iter().map(|reply| format!("\n    {}", show_reply(reply)));
            format!("all {}{}", lines.len(), lines.collect::<String>())
        }
        Reply::RolledBack { failed, code } => format!("rolled back: {failed} failed, {code}"),
        Reply::Session { timeout_ms, attach_epoch, .. } => {
            format!("session, timeout {timeout_ms} ms, attach epoch {attach_epoch}")
        }
        Reply::ControlEpoch(epoch) => format!("control epoch {epoch}"),
        Reply::Reconfigured { text, stat } => {
            let text = String::from_utf8_lossy(&text).replace('\n', "\n    ");
            format!("{}\n    {text}", show_stat(&stat))
        }
    }
}

fn parse_write(words: &[&str]) -> Option<WriteOp> {
    let version = |words: &[&str]| words.first().map_or(Some(-1), |word| word.parse().ok());
    Some(match *words {
        ["create", path, ref options @ ..] => {
            let mut data = None;
            let mut acl = vec![Acl::open()];
            let mut flags = 0;
            let mut ttl_ms = None;
            let mut container = false;
            for &option in options {
                match option.split_once('=') {
                    Some(("data", value)) => data = parse_data(value),
                    Some(("flags", value)) => flags = value.parse().ok()?,
                    Some(("acl", value)) => acl = parse_acl(value)?,
                    Some(("ttl", value)) => ttl_ms = Some(value.parse().ok()?),
                    Some(_) => return None,
                    None if option == "e" => flags |= 1,
                    None if option == "s" => flags |= 2,
                    None if option == "container" => container = true,
                    None => data = parse_data(option),
                }
            }
            let path = path.into();
            match ttl_ms {
                Some(ttl_ms) => WriteOp::CreateTtl { path, data, acl, flags, ttl_ms },
                None if container => WriteOp::CreateContainer { path, data, acl, flags },
                None => WriteOp::Create { path, data, acl, flags, with_stat: true },
            }
        }
        ["delete", path, ref rest @ ..] => WriteOp::Delete { path: path.into(), version: version(rest)? },
        ["set", path, data, ref rest @ ..] => {
            WriteOp::SetData { path: path.into(), data: parse_data(data), version: version(rest)? }
        }
        ["check", path, ref rest @ ..] => WriteOp::Check { path: path.into(), version: version(rest)? },
        ["reconfig", ref options @ ..] => {
            let given = |key| options.iter().find_map(|option| option.strip_prefix(key).map(str::to_owned));
            WriteOp::Reconfig(Reconfig {
                joining: given("joining="),
                leaving: given("leaving="),
                new_members: given("members="),
                config_id: given("from=").map_or(Some(-1), |zxid| Some(parse_zxid(&zxid)?.0))?,
            })
        }
        ["multi"] => WriteOp::Multi { ops: vec![] },
        ["multi", ref ops @ ..] => {
            WriteOp::Multi { ops: ops.split(|word| *word == ";").map(parse_write).collect::<Option<_>>()? }
        }
        ["setacl", path, acl, ref rest @ ..] => {
            WriteOp::SetAcl { path: path.into(), acl: parse_acl(acl)?, version: version(rest)? }
        }
        _ => return None,
    })
}

fn parse_data(word: &str) -> Option<Bytes> {
    (word != "-").then(|| Bytes::copy_from_slice(plain(word).as_bytes()))
}

fn plain(word: &str) -> &str {
    if word == "\"\"" { "" } else { word }
}

const PERMS: [(char, i32); 5] = [
    ('r', perms::READ),
    ('w', perms::WRITE),
    ('c', perms::CREATE),
    ('d', perms::DELETE),
    ('a', perms::ADMIN),
];

/// `none` is the empty list.
fn parse_acl(text: &str) -> Option<Vec<Acl>> {
    let entries = text.split(',').filter(|entry| *entry != "none");
    let entry = |entry: &str| {
        let (letters, id) = entry.split_once('@')?;
        let bits = PERMS.into_iter().filter(|(letter, _)| letters.contains(*letter));
        Some(Acl { perms: bits.map(|(_, bit)| bit).sum(), id: parse_id(id)? })
    };
    entries.map(entry).collect()
}

fn show_acl(acl: &[Acl]) -> String {
    let entry = |entry: &Acl| {
        let letters = PERMS.into_iter().filter(|(_, bit)| entry.perms & bit != 0);
        format!(
            "{}@{}:{}",
            letters.map(|(letter, _)| letter).collect::<String>(),
            entry.id.scheme,
            entry.id.id
        )
    };
    acl.iter().map(entry).collect::<Vec<_>>().join(",")
}

fn show_stat(stat: &Stat) -> String {
    format!(
        "[c {} {}ms, m {} {}ms, p {}; version {}, cversion {}, aversion {}; owner {}; {} bytes, {} children]",
        stat.czxid,
        stat.ctime_ms,
        stat.mzxid,
        stat.mtime_ms,
        stat.pzxid,
        stat.version,
        stat.cversion,
        stat.aversion,
        stat.ephemeral_owner,
        stat.data_length,
        stat.num_children
    )
}

fn print<T>(out: &mut String, result: Result<T, ErrorCode>, show: impl FnOnce(T) -> String) {
    _ = match result {
        Ok(value) => writeln!(out, "{}", show(value)),
        Err(code) => writeln!(out, "{code}"),
    };
}

fn parse_id(text: &str) -> Option<Id> {
    let (scheme, id) = text.split_once(':')?;
    Some(Id::new(scheme, id))
}

fn parse_zxid(text: &str) -> Option<Zxid> {
    i64::from_str_radix(text.strip_prefix("0x")?, 16).ok().map(Zxid)
}

fn letter(name: &str) -> Option<char> {
    name.parse().ok()
}

/// a is session 1, b 2, and so on.
fn session_of(name: char) -> SessionId {
    SessionId(i64::from(u32::from(name)) - i64::from(u32::from('a')) + 1)
}
