//! HTTP: probes, metrics, and those of ZooKeeper's admin commands that tell figures.
//!
//! Read only. Never fatal: a port that is taken is a warning, so that three servers fit on one host.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Html;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use zke_consensus::Serving;

use crate::clients::Clients;
use crate::config::Listen;
use crate::four_letter::{Mode, ServerView};
use crate::{listener, view};

/// A thread that holds the state's lock for this long applies nothing any more: a batch takes about a millisecond.
const LIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// What remains of the answers under way when the process stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves what the configuration asks for until `stop` is cancelled.
pub async fn run(clients: Arc<Clients>, stop: CancellationToken) {
    let config = &clients.config;
    tokio::join!(
        serve(config.admin_http.as_ref(), admin(Arc::clone(&clients)), &stop),
        serve(config.metrics_http.as_ref(), metrics(Arc::clone(&clients)), &stop),
    );
}

/// Everything there is.
pub fn admin(clients: Arc<Clients>) -> Router {
    let router = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/commands", get(commands))
        .route("/commands/{name}", get(command));
    router.with_state(Arc::clone(&clients)).merge(metrics(clients))
}

/// `/metrics` alone.
pub fn metrics(clients: Arc<Clients>) -> Router {
    Router::new().route("/metrics", get(metrics_text)).with_state(clients)
}

/// Of a process whose disk cannot be read: it lives, since starting again would not help, and is never ready. Goes on
/// until the process ends.
pub async fn serve_corrupt(listen: Option<&Listen>, reason: String) {
    let unready = (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n"));
    let router =
        Router::new().route("/livez", get(|| async { "ok\n" })).route("/readyz", get(|| async { unready }));
    serve(listen, router, &CancellationToken::new()).await;
    std::future::pending().await
}

async fn serve(listen: Option<&Listen>, router: Router, stop: &CancellationToken) {
    let Some(listen) = listen else { return };
    match listener::bind(listen).await {
        Ok(socket) => serve_on(socket, router, stop).await,
        Err(error) => {
            tracing::warn!(port = listen.port, %error, "cannot serve HTTP: clients are served without it");
        }
    }
}

/// Serves on a bound socket until `stop` is cancelled.
pub async fn serve_on(socket: TcpListener, router: Router, stop: &CancellationToken) {
    let stopped = stop.clone();
    let server = axum::serve(socket, router).with_graceful_shutdown(async move { stopped.cancelled().await });
    let bounded = async {
        stop.cancelled().await;
        tokio::time::sleep(STOP_TIMEOUT).await;
    };
    tokio::select! {
        served = server => {
            if let Err(error) = served {
                tracing::warn!(%error, "serving HTTP ended");
            }
        }
        () = bounded => {}
    }
}

type Answer = (StatusCode, String);

/// The process is up and its apply thread is not stuck.
async fn livez(State(clients): State<Arc<Clients>>) -> Answer {
    let looked =
        tokio::task::spawn_blocking(move || clients.ensemble.state().try_read_for(LIVE_TIMEOUT).is_some());
    match looked.await {
        Ok(true) => (StatusCode::OK, "ok\n".to_owned()),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "the thread that applies the log is stuck\n".to_owned()),
    }
}

/// A voter that serves clients.
async fn readyz(State(clients): State<Arc<Clients>>) -> Answer {
    match unready(&clients) {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

/// Why this member is not ready; `None` if it is.
pub fn unready(clients: &Clients) -> Option<String> {
    let status = clients.ensemble.status();
    if clients.stop.is_cancelled() {
        return Some("this process is stopping".to_owned());
    }
    if let Serving::No(reason) = status.serving {
        return Some(reason.to_string());
    }
    (!status.is_voter()).then(|| "this member has no vote yet".to_owned())
}

async fn metrics_text(State(clients): State<Arc<Clients>>) -> Answer {
    let view = view::server(&clients).await;
    match crate::metrics::text(&view, &clients.ensemble.status(), &clients.stats) {
        Ok(text) => (StatusCode::OK, text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

const COMMANDS: [&str; 4] = ["monitor", "ruok", "server_stats", "stats"];

async fn commands() -> Html<String> {
    Html(COMMANDS.map(|name| format!("<a href=\"/commands/{name}\">{name}</a><br/>\n")).concat())
}

/// As in ZooKeeper the status is 200 whatever happens, and `error` says what did.
async fn command(State(clients): State<Arc<Clients>>, Path(name): Path<String>) -> Json<Value> {
    let name = match name.as_str() {
        "mntr" => "monitor",
        "srvr" => "server_stats",
        "stat" => "stats",
        name => name,
    };
    let mut answer = Map::new();
    answer.insert("command".to_owned(), name.into());
    answer.insert("error".to_owned(), Value::Null);
    match name {
        "ruok" => {}
        "monitor" => monitor(&mut answer, &view::server(&clients).await),
        "server_stats" | "stats" => {
            let view = view::server(&clients).await;
            server_stats(&mut answer, &view);
            if name == "stats" {
                answer.insert("connections".to_owned(), connections(&view));
            }
        }
        _ => {
            answer.insert("error".to_owned(), format!("Unknown command: {name}").into());
        }
    }
    Json(answer.into())
}

fn monitor(answer: &mut Map<String, Value>, view: &ServerView) {
    let figures = json!({
        "server_state": view.mode.name(),
        "avg_latency": view.latency.avg,
        "min_latency": view.latency.min,
        "max_latency": view.latency.max,
        "packets_received": view.received,
        "packets_sent": view.sent,
        "num_alive_connections": view.clients.len(),
        "outstanding_requests": view.outstanding,
        "uptime": view.uptime_ms,
        "znode_count": view.node_count,
        "watch_count": view.watch_count,
        "ephemerals_count": view.ephemerals_count,
        "approximate_data_size": view.approximate_data_size,
        "global_sessions": view.global_sessions,
        "open_file_descriptor_count": view.open_files,
        "max_file_descriptor_count": view.max_open_files,
    });
    extend(answer, figures);
    if let Mode::Leader(leader) = view.mode {
        let figures = json!({
            "learners": leader.learners,
            "synced_followers": leader.synced_followers,
            "synced_observers": leader.synced_observers,
            "leader_uptime": leader.uptime_ms,
        });
        extend(answer, figures);
    }
}

fn server_stats(answer: &mut Map<String, Value>, view: &ServerView) {
    let figures = json!({
        "read_only": view.mode == Mode::ReadOnly,
        "server_stats": {
            "packets_sent": view.sent,
            "packets_received": view.received,
            "min_latency": view.latency.min,
            "avg_latency": view.latency.avg,
            "max_latency": view.latency.max,
            "last_processed_zxid": view.zxid.0,
            "outstanding_requests": view.outstanding,
            "server_state": view.mode.name(),
            "num_alive_client_connections": view.clients.len(),
            "data_dir_size": view.data_dir_bytes,
            "log_dir_size": view.log_dir_bytes,
            "uptime": view.uptime_ms,
        },
        "node_count": view.node_count,
    });
    extend(answer, figures);
}

fn connections(view: &ServerView) -> Value {
    let connections = view.clients.iter().map(|client| {
        json!({
            "remote_socket_address": client.address.to_string(),
            "outstanding_requests": client.queued,
            "packets_received": client.received,
            "packets_sent": client.sent,
        })
    });
    connections.collect()
}

fn extend(answer: &mut Map<String, Value>, figures: Value) {
    if let Value::Object(figures) = figures {
        answer.extend(figures);
    }
}
