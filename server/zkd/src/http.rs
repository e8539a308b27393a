//! HTTP: probes, metrics, and ZooKeeper's admin commands.
//!
//! Changes nothing but what is counted for whoever looks. Never fatal: a port that is taken is a warning, so that three
//! servers fit on one host.

mod answers;
mod bounded;
mod commands;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use zke_consensus::Serving;

use crate::clients::Clients;
use crate::config::Listen;
use crate::{listener, view};
use bounded::Bounded;

/// A thread that holds the state's lock for this long applies nothing any more: a batch takes about a millisecond.
const LIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Probes, Prometheus and people keep a handful open. Each costs a file, of which clients need the most.
const CONNECTIONS_MAX: usize = 128;
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
    let router: Router<Arc<Clients>> = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .merge(commands::routes(&clients.config.admin_url));
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
    let socket = Bounded::new(socket, CONNECTIONS_MAX);
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
