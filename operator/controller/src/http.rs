//! `/metrics`, `/livez` and `/readyz`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;

use crate::metrics::Metrics;

/// Whether this process can do its work: it reaches the API server. A replica that stands by is ready too.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }
}

pub fn router(metrics: Metrics, readiness: Readiness) -> Router {
    let metrics_page = async |State(metrics): State<Metrics>| {
        metrics.render().map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
    };
    let readyz = async move || match readiness.0.load(Ordering::Relaxed) {
        true => (StatusCode::OK, "ok\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "the API server has not answered yet\n"),
    };
    Router::new()
        .route("/metrics", get(metrics_page))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .with_state(metrics)
}
