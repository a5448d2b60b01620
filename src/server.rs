//! Health, readiness and the operator's own metrics over HTTP.

mod connections;
pub mod reports;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;

use connections::Limits;

use crate::metrics::Meters;

/// What the endpoints show.
#[derive(Clone)]
pub struct Shown {
    /// The operator's own metrics.
    pub meters: Arc<Meters>,
    /// Every cache has its first list.
    pub ready: Arc<AtomicBool>,
}

/// Serves until `stop`.
pub async fn serve(listener: TcpListener, shown: Shown, stop: CancellationToken) {
    let meters = shown.meters.clone();
    let router = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(shown);
    connections::serve(listener, router, Limits::default(), meters, stop).await;
}

/// Connections that wait to be taken, at most; the machine may allow fewer. What finds no place there is tried again by its
/// peer a second later, which is too late for a probe.
const BACKLOG: u32 = 4_096;

/// Binds an address of the endpoints.
pub fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A replica that starts again does not wait for the connections of its life before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn ready(State(shown): State<Shown>) -> impl IntoResponse {
    if shown.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the caches are not synced yet")
    }
}

async fn metrics(State(shown): State<Shown>) -> impl IntoResponse {
    match shown.meters.text() {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            (StatusCode::OK, [(header::CONTENT_TYPE, kind)], text)
        }
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            [(header::CONTENT_TYPE, "text/plain")],
            error.to_string(),
        ),
    }
}
