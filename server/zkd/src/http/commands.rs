//! The admin commands: their names, and what each is answered with.
//!
//! As in ZooKeeper the status is 200 whatever happens, and `error` says what did, but for the two commands that are
//! refused: those are forbidden to whoever calls without being known.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{any, get};
use serde_json::{Map, Value};

use super::answers;
use crate::clients::Clients;
use crate::four_letter::{self, NOT_SERVING};
use crate::view::{self, lists};

/// Every command of ZooKeeper 3.9 with the short names it has there.
const COMMANDS: [(&str, &[&str]); 27] = [
    ("configuration", &["conf", "config"]),
    ("connection_stat_reset", &["crst"]),
    ("connections", &["cons"]),
    ("dirs", &[]),
    ("dump", &[]),
    ("environment", &["env", "envi"]),
    ("get_trace_mask", &["gtmk"]),
    ("hash", &[]),
    ("initial_configuration", &["icfg"]),
    ("is_read_only", &["isro"]),
    ("last_snapshot", &["lsnp"]),
    ("leader", &["lead"]),
    ("monitor", &["mntr"]),
    ("observer_connection_stat_reset", &["orst"]),
    ("observers", &["obsr"]),
    ("restore", &["rest"]),
    ("ruok", &[]),
    ("server_stats", &["srvr"]),
    ("set_trace_mask", &["stmk"]),
    ("snapshot", &["snap"]),
    ("stat_reset", &["srst"]),
    ("stats", &["stat"]),
    ("system_properties", &["sysp"]),
    ("voting_view", &[]),
    ("watch_summary", &["wchs"]),
    ("watches", &["wchc"]),
    ("watches_by_path", &["wchp"]),
];

/// Not in the table above, since `zabstate` has no short name and stands last in ZooKeeper's index too.
const ZABSTATE: &str = "zabstate";

const TOO_MANY: &str = "too many ask for long lists: try again";
const REFUSED: &str =
    "not served over HTTP: it takes an admin identity. Use zkd's admin API (see docs/operations.md)";

/// The index and the commands below `url`, which is ZooKeeper's `admin.commandURL`.
pub fn routes(url: &str) -> Router<Arc<Clients>> {
    let below = format!("{}/{{name}}", url.trim_end_matches('/'));
    Router::new().route(url, get(index)).route(&below, any(command))
}

async fn index(State(clients): State<Arc<Clients>>) -> Html<String> {
    let url = clients.config.admin_url.trim_end_matches('/');
    let names = COMMANDS.iter().map(|(name, _)| *name).chain([ZABSTATE]);
    Html(names.map(|name| format!("<a href=\"{url}/{name}\">{name}</a>\n<br/>\n")).collect())
}

async fn command(
    State(clients): State<Arc<Clients>>,
    Path(asked): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let Some(name) = full_name(&asked) else {
        return reply(StatusCode::OK, &asked, Err(format!("Unknown command: {asked}")));
    };
    if matches!(name, "snapshot" | "restore") {
        return reply(StatusCode::FORBIDDEN, name, Err(REFUSED.to_owned()));
    }
    if needs_serving(name) && !clients.hub.is_open() {
        return reply(StatusCode::OK, name, Err(NOT_SERVING.to_owned()));
    }
    let answer = answer(&clients, name, &query).await;
    reply(StatusCode::OK, name, answer)
}

fn full_name(asked: &str) -> Option<&'static str> {
    if asked == ZABSTATE {
        return Some(ZABSTATE);
    }
    let found = COMMANDS.iter().find(|(name, short)| *name == asked || short.contains(&asked));
    found.map(|(name, _)| *name)
}

/// Those that do not are of the process, not of the state it serves.
fn needs_serving(name: &str) -> bool {
    !matches!(
        name,
        "configuration"
            | "environment"
            | "get_trace_mask"
            | "initial_configuration"
            | "leader"
            | "ruok"
            | "set_trace_mask"
            | "system_properties"
            | "voting_view"
            | "zabstate"
    )
}

async fn answer(
    clients: &Clients,
    name: &str,
    query: &HashMap<String, String>,
) -> Result<Map<String, Value>, String> {
    let too_many = || TOO_MANY.to_owned();
    let turns = &clients.turns;
    Ok(match name {
        "configuration" => answers::configuration(&clients.config),
        "connections" => {
            turns.take(|| answers::connections(&lists::clients(clients))).await.ok_or_else(too_many)?
        }
        "dirs" => answers::dirs(&view::server(clients).await),
        "dump" => turns.take(|| answers::dump(&lists::sessions(clients))).await.ok_or_else(too_many)?,
        "environment" => answers::environment(),
        "get_trace_mask" => answers::trace_mask(clients.trace_mask.load(Relaxed)),
        "set_trace_mask" => {
            let mask = query.get("traceMask").and_then(|mask| mask.parse().ok());
            let mask = mask.ok_or("setTraceMask requires long traceMask argument")?;
            clients.trace_mask.store(mask, Relaxed);
            answers::trace_mask(mask)
        }
        "hash" => answers::digests(&clients.hub.digests.lock()),
        "initial_configuration" => answers::initial_configuration(&clients.config),
        "is_read_only" => answers::is_read_only(&view::server(clients).await),
        "last_snapshot" => answers::last_snapshot(&clients.config.data_dir)
            .ok_or("no snapshot is taken yet: what was applied is in the log")?,
        "leader" => answers::leader(&clients.ensemble.status()).ok_or("server is not initialized")?,
        "monitor" => answers::monitor(&view::server(clients).await, &clients.stats),
        "observers" => answers::observers(&view::server(clients).await, &clients.ensemble.status()),
        "server_stats" => answers::server_stats(&view::server(clients).await, &clients.stats),
        "stats" => {
            let mut answer = answers::server_stats(&view::server(clients).await, &clients.stats);
            let listed = turns.take(|| lists::clients(clients)).await.ok_or_else(too_many)?;
            answer.extend(answers::brief_connections(&listed));
            answer
        }
        "system_properties" => answers::system_properties(),
        "voting_view" => {
            let configuration = clients.ensemble.state().read().configuration();
            answers::voting_view(&clients.config, &clients.ensemble.status(), configuration.as_ref())
        }
        "watch_summary" => answers::watch_summary(lists::watch_summary(clients)),
        "watches" => {
            turns.take(|| answers::watches(&lists::watches_by_session(clients))).await.ok_or_else(too_many)?
        }
        "watches_by_path" => {
            let made = turns.take(|| answers::watches_by_path(&lists::watches_by_path(clients)));
            made.await.ok_or_else(too_many)?
        }
        "zabstate" => answers::zabstate(&clients.config, &clients.ensemble.status()),
        "connection_stat_reset" => {
            four_letter::reset_connections(clients);
            Map::new()
        }
        "stat_reset" => {
            clients.stats.reset();
            Map::new()
        }
        // Nothing is counted for observers apart; ruok says that it is by its being answered.
        _ => Map::new(),
    })
}

fn reply(status: StatusCode, name: &str, answer: Result<Map<String, Value>, String>) -> Response {
    let (mut answer, error) = match answer {
        Ok(answer) => (answer, Value::Null),
        Err(error) => (Map::new(), error.into()),
    };
    answer.insert("command".to_owned(), name.into());
    answer.insert("error".to_owned(), error);
    let text =
        serde_json::to_string_pretty(&answer).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"));
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}
