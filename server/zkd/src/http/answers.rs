//! The JSON of each admin command, with ZooKeeper's keys.
//!
//! A key whose figure this server does not have is left out, never made up: docs/monitoring.md lists them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;
use std::{env, fs};

use serde_json::{Map, Value, json};
use zke_consensus::{MemberStatus, PeerNode, Role as RaftRole, Serving};
use zke_tree::{Configuration, MemberId};

use crate::config::{Config, Ensemble, Listen, Role, Server};
use crate::digest_log::DigestLog;
use crate::figures::{self, Figure, QUANTILES, Value as Figured};
use crate::four_letter;
use crate::stats::Stats;
use crate::view::lists::{Listed, Sessions, WatchSummary};
use crate::view::{ClientView, Mode, ServerView};

type Answer = Map<String, Value>;

/// The keys of a `json!({…})`.
fn keys(value: Value) -> Answer {
    match value {
        Value::Object(keys) => keys,
        _ => Map::new(),
    }
}

pub fn configuration(config: &Config) -> Answer {
    // -1 is how ZooKeeper shows a port that is not open.
    let port = |listen: &Option<Listen>| listen.as_ref().map_or(-1, |listen| i32::from(listen.port));
    let mut answer = keys(json!({
        "client_port": port(&config.clients),
        "data_dir": config.data_dir.display().to_string(),
        "data_log_dir": config.log_dir.display().to_string(),
        "tick_time": config.tick_ms,
        "max_client_cnxns": config.max_client_cnxns.map_or(0, u32::from),
        "min_session_timeout": config.session_timeout.min_ms,
        "max_session_timeout": config.session_timeout.max_ms,
        "client_port_listen_backlog": -1,
    }));
    let id = if let Ensemble::ZooCfg { my_id, .. } = &config.ensemble { my_id.0 } else { 0 };
    answer.insert("server_id".to_owned(), id.into());
    answer
}

pub fn connections(clients: &[ClientView]) -> Answer {
    by_encryption(clients, |client| {
        let mut entry = brief(client);
        if let Some(session) = &client.session {
            let activity = &session.activity;
            entry.extend(keys(json!({
                "session_id": session.id,
                "last_operation": activity.operation,
                "established": activity.established_ms,
                "session_timeout": session.timeout_ms,
                "last_cxid": activity.cxid,
                "last_zxid": activity.zxid,
                "last_response_time": activity.answered_at_ms,
                "last_latency": activity.last_latency_ms,
                "min_latency": activity.min_latency_ms(),
                "avg_latency": activity.avg_latency_ms(),
                "max_latency": activity.max_latency_ms,
            })));
        }
        entry
    })
}

/// As `stats` lists them.
pub fn brief_connections(clients: &[ClientView]) -> Answer {
    by_encryption(clients, brief)
}

fn by_encryption(clients: &[ClientView], entry: impl Fn(&ClientView) -> Answer) -> Answer {
    let (encrypted, plain): (Vec<_>, Vec<_>) = clients.iter().partition(|client| client.encrypted);
    let entries = |clients: Vec<&ClientView>| clients.into_iter().map(&entry).collect::<Vec<_>>();
    keys(json!({ "connections": entries(plain), "secure_connections": entries(encrypted) }))
}

fn brief(client: &ClientView) -> Answer {
    keys(json!({
        "remote_socket_address": client.address.to_string(),
        // 1 is Java's way to say that the connection is waited on for reading.
        "interest_ops": 1,
        "outstanding_requests": client.queued,
        "packets_received": client.received,
        "packets_sent": client.sent,
    }))
}

pub fn dirs(view: &ServerView) -> Answer {
    keys(json!({ "datadir_size": view.data_dir_bytes, "logdir_size": view.log_dir_bytes }))
}

/// As a follower has it, which knows no deadlines of sessions.
pub fn dump(sessions: &Sessions) -> Answer {
    let mut answer = keys(json!({
        "expiry_time_to_session_ids": {},
        "session_id_to_ephemeral_paths": by_text(&sessions.ephemerals.entries),
    }));
    say_cut(&mut answer, &sessions.ephemerals);
    answer
}

pub fn watches(listed: &Listed<BTreeMap<i64, Vec<Arc<str>>>>) -> Answer {
    let paths = listed.entries.iter().map(|(session, paths)| {
        let paths: Vec<&str> = paths.iter().map(|path| &**path).collect();
        (session.to_string(), json!(paths))
    });
    let paths: Answer = paths.collect();
    let mut answer = keys(json!({ "session_id_to_watched_paths": paths }));
    say_cut(&mut answer, listed);
    answer
}

pub fn watches_by_path(listed: &Listed<BTreeMap<Arc<str>, Vec<i64>>>) -> Answer {
    let sessions: Answer =
        listed.entries.iter().map(|(path, sessions)| (path.to_string(), json!(sessions))).collect();
    let mut answer = keys(json!({ "path_to_session_ids": sessions }));
    say_cut(&mut answer, listed);
    answer
}

pub fn watch_summary(sum: WatchSummary) -> Answer {
    let WatchSummary { connections, paths, watches } = sum;
    keys(json!({ "num_connections": connections, "num_paths": paths, "num_total_watches": watches }))
}

/// A key that ZooKeeper does not have, only where the list is not whole.
fn say_cut<T>(answer: &mut Answer, listed: &Listed<T>) {
    if let Some(cut) = listed.cut() {
        answer.insert("cut".to_owned(), cut.into());
    }
}

fn by_text(entries: &BTreeMap<i64, Vec<String>>) -> Answer {
    entries.iter().map(|(session, paths)| (session.to_string(), json!(paths))).collect()
}

pub fn environment() -> Answer {
    let environment = four_letter::environment();
    environment.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
}

/// Those of Java's that there are without it. The `-D` properties of the command line are not shown: some are secrets.
pub fn system_properties() -> Answer {
    let mut answer = environment();
    answer.retain(|name, _| name.starts_with("os.") || name.starts_with("user."));
    answer.insert("java.io.tmpdir".to_owned(), env::temp_dir().display().to_string().into());
    answer.insert("file.separator".to_owned(), "/".into());
    answer
}

pub fn trace_mask(mask: i64) -> Answer {
    keys(json!({ "tracemask": mask }))
}

/// The version says that these digests are not those of ZooKeeper's 1 and 2.
pub fn digests(log: &DigestLog) -> Answer {
    let digests =
        log.iter().map(|(zxid, digest)| json!({ "zxid": zxid.0, "digest": digest, "digest_version": "zkd" }));
    keys(json!({ "digests": digests.collect::<Vec<_>>() }))
}

pub fn initial_configuration(config: &Config) -> Answer {
    keys(json!({ "initial_configuration": config.shown_file }))
}

pub fn is_read_only(view: &ServerView) -> Answer {
    keys(json!({ "read_only": view.mode == Mode::ReadOnly }))
}

/// Of the newest file: its time, and the last entry in it, by which ours are named. ZooKeeper's are named by zxid.
pub fn last_snapshot(data_dir: &Path) -> Option<Answer> {
    let newest = fs::read_dir(data_dir)
        .ok()?
        .flatten()
        .filter_map(|file| {
            let name = file.file_name().into_string().ok()?;
            let (term, index) = name.strip_prefix("snapshot-")?.split_once('-')?;
            let last = (u64::from_str_radix(term, 16).ok()?, u64::from_str_radix(index, 16).ok()?);
            Some((last, file.metadata().ok()?.modified().ok()?))
        })
        .max_by_key(|(last, _)| *last);
    let ((term, index), time) = newest?;
    let seconds = time.duration_since(UNIX_EPOCH).ok()?.as_secs();
    Some(keys(json!({ "log_term": term, "log_index": index, "timestamp": seconds })))
}

/// `None` while no leader is known, and for a server that is alone.
pub fn leader(status: &MemberStatus) -> Option<Answer> {
    let leader = status.leader.filter(|_| status.members.len() > 1)?;
    let node = status.members.get(&leader)?;
    Some(keys(json!({
        "is_leader": leader == status.identity.member,
        "leader_id": number_of(&node.pod),
        "leader_ip": host_of(node),
    })))
}

/// The N of `server.N`, and the ordinal of a pod.
fn number_of(pod: &str) -> Option<u64> {
    pod.rsplit(['.', '-']).next()?.parse().ok()
}

fn host_of(node: &PeerNode) -> &str {
    node.address.rsplit_once(':').map_or(&*node.address, |(host, _)| host).trim_matches(['[', ']'])
}

pub fn monitor(view: &ServerView, stats: &Stats) -> Answer {
    let mut answer = Map::new();
    for Figure { name, value, .. } in figures::all(view, stats, &four_letter::version()) {
        let mut put = |prefix: &str, value: Value| answer.insert(format!("{prefix}{name}"), value);
        match value {
            Figured::Text(text) => drop(put("", text.into())),
            Figured::Gauge(value) => drop(put("", value.into())),
            Figured::Decimal(value) => drop(put("", value.into())),
            Figured::Counter(value) => drop(put("", value.into())),
            Figured::Summary(summary) => {
                put("avg_", summary.avg().into());
                put("min_", summary.min.into());
                put("max_", summary.max.into());
                put("cnt_", summary.count.into());
                put("sum_", summary.sum.into());
                for ((_, prefix), value) in QUANTILES.iter().zip(summary.quantiles.iter().flatten()) {
                    put(&format!("{prefix}_"), (*value).into());
                }
            }
        }
    }
    answer
}

pub fn observers(view: &ServerView, status: &MemberStatus) -> Answer {
    let Mode::Leader(leader) = view.mode else {
        return keys(json!({ "synced_observers": 0, "observers": [] }));
    };
    let observers = status
        .members
        .iter()
        .filter(|(id, _)| !is_voter(status, **id))
        .map(|(_, node)| json!({ "sid": number_of(&node.pod), "remote_socket_address": node.address }));
    keys(json!({ "synced_observers": leader.synced_observers, "observers": observers.collect::<Vec<_>>() }))
}

fn is_voter(status: &MemberStatus, member: MemberId) -> bool {
    status.voter_sets.iter().flatten().any(|voter| *voter == member)
}

pub fn server_stats(view: &ServerView, stats: &Stats) -> Answer {
    let responses = stats.response_bytes.read();
    let size = |bytes: Option<u64>| bytes.map_or(json!(-1), |bytes| json!(bytes));
    let responses = json!({
        "last_buffer_size": size(responses.map(|read| read.last)),
        "min_buffer_size": size(responses.map(|read| read.min)),
        "max_buffer_size": size(responses.map(|read| read.max)),
    });
    keys(json!({
        "version": four_letter::version(),
        "read_only": view.mode == Mode::ReadOnly,
        "server_stats": {
            "packets_sent": view.sent,
            "packets_received": view.received,
            "client_response_stats": responses,
            "provider_null": false,
            "server_state": view.mode.name(),
            "outstanding_requests": view.outstanding,
            "min_latency": view.latency.min,
            "avg_latency": view.latency.avg,
            "max_latency": view.latency.max,
            "data_dir_size": view.data_dir_bytes,
            "log_dir_size": view.log_dir_bytes,
            "last_processed_zxid": view.zxid.0,
            "num_alive_client_connections": view.connections,
            "uptime": view.uptime_ms,
            "auth_failed_count": stats.auth_failures.get(),
        },
        "client_response": responses,
        // ZooKeeper's way to say that nothing was measured: proposals here are batches of many requests.
        "proposal_stats": { "last_buffer_size": -1, "min_buffer_size": -1, "max_buffer_size": -1 },
        "node_count": view.node_count,
    }))
}

/// The servers of the file, or the members that the operator made.
pub fn voting_view(config: &Config, status: &MemberStatus, configuration: Option<&Configuration>) -> Answer {
    let entry = |peer: String, election: Option<String>, client: String, votes: bool| {
        json!({
            "server_addresses": [peer],
            "election_addresses": election.into_iter().collect::<Vec<_>>(),
            "client_address": client,
            "learner_type": if votes { "participant" } else { "observer" },
        })
    };
    let view: Answer = match &config.ensemble {
        Ensemble::Standalone => Map::new(),
        Ensemble::ZooCfg { my_id, servers } => configuration
            .map_or_else(|| servers.clone(), |current| current.servers().cloned().collect())
            .iter()
            .map(|server| {
                let clients =
                    server.clients.as_ref().or(config.clients.as_ref().filter(|_| server.id == *my_id));
                let client = clients.map(|listen| listen.to_string()).unwrap_or_default();
                let votes = server.role == Role::Participant;
                (
                    server.id.to_string(),
                    entry(server.peer.to_string(), Some(election_of(server)), client, votes),
                )
            })
            .collect(),
        Ensemble::Managed(_) => status
            .members
            .iter()
            .filter_map(|(id, node)| {
                let votes = is_voter(status, *id);
                Some((
                    number_of(&node.pod)?.to_string(),
                    entry(node.address.clone(), None, String::new(), votes),
                ))
            })
            .collect(),
    };
    keys(json!({ "current_config": view }))
}

fn election_of(server: &Server) -> String {
    format!("{}:{}", server.peer.host, server.election_port)
}

pub fn zabstate(config: &Config, status: &MemberStatus) -> Answer {
    let Ensemble::ZooCfg { my_id, servers } = &config.ensemble else {
        return alone_or_managed(status);
    };
    let mut answer = alone_or_managed(status);
    answer.insert("myid".to_owned(), my_id.0.into());
    answer.insert(
        "client_address".to_owned(),
        config.clients.as_ref().map(ToString::to_string).unwrap_or_default().into(),
    );
    if let Some(own) = servers.iter().find(|server| server.id == *my_id) {
        let host = own.peer.host.to_string();
        answer.insert("quorum_address".to_owned(), address(&host, own.peer.port));
        answer.insert("election_address".to_owned(), address(&host, own.election_port));
    }
    answer
}

fn alone_or_managed(status: &MemberStatus) -> Answer {
    if status.members.len() <= 1 {
        // As in ZooKeeper.
        return keys(json!({ "voting": false, "zabstate": "" }));
    }
    let state = if status.serving == Serving::Yes { "broadcast" } else { "election" };
    keys(json!({
        "myid": number_of(&status.pod),
        "is_leader": status.role == RaftRole::Leader,
        "voting": status.is_voter(),
        "last_zxid": status.last_zxid.to_string(),
        "zab_epoch": status.last_zxid.epoch(),
        "zab_counter": status.last_zxid.counter(),
        "zabstate": state,
    }))
}

/// One address, as ZooKeeper shows what may be several. Whether it can be reached is not tried.
fn address(host: &str, port: u16) -> Value {
    json!({
        "empty": false,
        "all_addresses": [format!("{host}:{port}")],
        "all_ports": [port],
        "all_host_strings": [host],
        "one": format!("{host}:{port}"),
    })
}
