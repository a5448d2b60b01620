//! `inference-server`: one pod of the demo service, a ranking model behind HTTP.
//!
//! Features come from a "feature store": an asynchronous wait from a lognormal, keyed by seed and query, so that the
//! same query waits equally long on every release with that seed. Everything else is real: parsing, tokenizing,
//! the perceptron, the queue in front of `--max-concurrency`.

pub mod metrics;
pub mod options;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use rand::SeedableRng;
use rand_distr::{Distribution, LogNormal};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use self::{
    metrics::{Metrics, Observation, Stage},
    options::ServerOptions,
};
use crate::{
    model::{self, Model, Scored, TokenError, Tokenizer},
    process,
};

/// Failures of the server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// `--crash` was given.
    #[error("the release crashes at start, as told by --crash")]
    Crash,
    /// `--exit-after` elapsed.
    #[error("the release exits after its time, as told by --exit-after")]
    ExitAfter,
    /// The options contradict themselves.
    #[error("options: {0}")]
    Options(String),
    /// The port is taken.
    #[error("listening on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The reason.
        source: std::io::Error,
    },
    /// Accepting connections failed.
    #[error("serving: {0}")]
    Serve(std::io::Error),
    /// Signals cannot be received.
    #[error(transparent)]
    Process(#[from] process::ProcessError),
}

/// A query: who asks, and the signal that the tokenizer reads.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RankRequest {
    /// Identifies the query, below 2^53 as JSON numbers are.
    pub query_id: u64,
    /// Uniform in [0, 1) in the load generator.
    pub signal: f64,
}

/// The ranking.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RankResponse {
    /// The query.
    pub query_id: u64,
    /// Best documents first.
    pub ranking: Vec<Scored>,
}

#[derive(Debug)]
struct Server {
    tokenizer: Tokenizer,
    model: Model,
    store: LogNormal<f64>,
    /// Bits of the factor on every wait.
    store_scale: AtomicU64,
    seed: u64,
    failure_status: StatusCode,
    slots: Option<Semaphore>,
    ready: AtomicBool,
    metrics: Arc<Metrics>,
}

/// Runs the server until SIGTERM.
pub async fn run(options: ServerOptions) -> Result<(), ServerError> {
    if options.crash {
        return Err(ServerError::Crash);
    }
    let server = Arc::new(Server::new(&options)?);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .map_err(|source| ServerError::Listen { address, source })?;
    tracing::info!(address = ?listener.local_addr().ok(), parameters = server.model.parameters(), "listening");

    let loading = Arc::clone(&server);
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(options.load_ms)).await;
        loading.ready.store(!options.never_ready, Ordering::Release);
    });

    if let Some(file) = options.feature_store_scale_file {
        tokio::spawn(follow_store_scale(Arc::clone(&server), file));
    }

    let serve = axum::serve(listener, router(server));
    tokio::select! {
        served = async { serve.await } => served.map_err(ServerError::Serve),
        drained = drain(Duration::from_millis(options.drain_ms)) => drained,
        () = exit_after(options.exit_after) => Err(ServerError::ExitAfter),
    }
}

/// Waits for SIGTERM, then as long as clients may take to notice that this pod has left the Service.
async fn drain(time: Duration) -> Result<(), ServerError> {
    process::shutdown_signal().await?;
    tokio::time::sleep(time).await;
    Ok(())
}

/// Follows the scale factor of the feature store's wait in a file, so that a test can slow it down for every release.
async fn follow_store_scale(server: Arc<Server>, file: PathBuf) {
    loop {
        let scale = tokio::fs::read_to_string(&file)
            .await
            .ok()
            .and_then(|text| text.trim().parse::<f64>().ok());
        server
            .store_scale
            .store(scale.unwrap_or(1.0).max(0.0).to_bits(), Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn exit_after(seconds: Option<f64>) {
    match seconds {
        Some(seconds) => tokio::time::sleep(Duration::from_secs_f64(seconds.max(0.0))).await,
        None => std::future::pending().await,
    }
}

impl Server {
    fn new(options: &ServerOptions) -> Result<Self, ServerError> {
        let invalid = |error: &dyn std::fmt::Display| ServerError::Options(error.to_string());
        let store = LogNormal::new(
            (options.feature_median_ms.max(0.001) / 1000.0).ln(),
            options.feature_sigma,
        )
        .map_err(|error| invalid(&error))?;
        Ok(Self {
            tokenizer: Tokenizer::new(options.error_rate, options.seed),
            model: Model::of(options),
            store,
            store_scale: AtomicU64::new(1.0_f64.to_bits()),
            seed: options.seed,
            failure_status: StatusCode::from_u16(options.bad_status).map_err(|error| invalid(&error))?,
            slots: options.max_concurrency.map(Semaphore::new),
            ready: AtomicBool::new(false),
            metrics: Arc::new(Metrics::new(SystemTime::now())),
        })
    }

    async fn rank(&self, body: &[u8]) -> Response {
        if !self.ready.load(Ordering::Acquire) {
            return (StatusCode::SERVICE_UNAVAILABLE, "weights are not loaded").into_response();
        }
        let _slot = match &self.slots {
            // The semaphore is never closed.
            Some(slots) => slots.acquire().await.ok(),
            None => None,
        };
        let started = Instant::now();
        let request: RankRequest = match serde_json::from_slice(body) {
            Ok(request) => request,
            Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
        };
        let embedding = match self.tokenizer.embed(request.signal) {
            Ok(embedding) => embedding,
            Err(error @ TokenError::OutOfRange(_)) => {
                return (StatusCode::BAD_REQUEST, error.to_string()).into_response();
            }
            Err(error @ TokenError::UnknownToken { .. }) => {
                tracing::debug!(%error, query = request.query_id, "request failed");
                return (self.failure_status, error.to_string()).into_response();
            }
        };
        tokio::time::sleep(self.feature_store_wait(request.query_id)).await;
        let candidates = model::features(request.query_id, embedding);
        let inference = self.metrics.stage(Stage::Preprocess, started);
        let scores = self.model.score(&candidates);
        let postprocess = self.metrics.stage(Stage::Inference, inference);
        let answer = json_response(&RankResponse {
            query_id: request.query_id,
            ranking: model::top(&scores),
        });
        self.metrics.stage(Stage::Postprocess, postprocess);
        answer
    }

    fn feature_store_wait(&self, query: u64) -> Duration {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(self.seed ^ query.rotate_left(32));
        let scale = f64::from_bits(self.store_scale.load(Ordering::Relaxed));
        Duration::from_secs_f64((scale * self.store.sample(&mut random)).min(3600.0))
    }
}

fn json_response(body: &RankResponse) -> Response {
    match serde_json::to_vec(body) {
        Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn router(server: Arc<Server>) -> Router {
    Router::new()
        .route("/rank", post(rank))
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_page))
        .with_state(server)
}

/// The work goes on when the client leaves, as in a server with threads: what is queued is done and counted.
async fn rank(State(server): State<Arc<Server>>, body: Bytes) -> Response {
    let observation = Observation::start(Arc::clone(&server.metrics));
    let work = tokio::spawn(async move {
        let response = server.rank(&body).await;
        observation.end(response.status());
        response
    });
    match work.await {
        Ok(response) => response,
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn readyz(State(server): State<Arc<Server>>) -> (StatusCode, &'static str) {
    if server.ready.load(Ordering::Acquire) {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "loading weights")
    }
}

async fn metrics_page(State(server): State<Arc<Server>>) -> Response {
    match server.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use clap::Parser;

    use super::*;

    fn server(arguments: &[&str]) -> Server {
        let options = ServerOptions::parse_from([&["inference-server"], arguments].concat());
        let server = Server::new(&options).unwrap();
        server.ready.store(true, Ordering::Release);
        server
    }

    #[tokio::test]
    async fn an_answer_is_deterministic_and_bad_input_is_the_clients_fault() {
        let server = server(&[
            "--feature-median-ms",
            "1",
            "--error-rate",
            "0.25",
            "--bad-status",
            "503",
        ]);
        for (body, status) in [
            (r#"{"query_id":1,"signal":0.2}"#, 200),
            (r#"{"query_id":1,"signal":0.7499}"#, 200),
            (r#"{"query_id":1,"signal":0.75}"#, 503),
            (r#"{"query_id":1,"signal":1.0}"#, 400),
            ("not json", 400),
        ] {
            assert_eq!(server.rank(body.as_bytes()).await.status(), status, "{body}");
        }
    }

    #[test]
    fn the_wait_depends_on_query_and_seed_only_and_has_the_configured_quantiles() {
        let server = server(&["--feature-median-ms", "200", "--feature-sigma", "0.35"]);
        assert_eq!(server.feature_store_wait(3), server.feature_store_wait(3));
        let mut waits: Vec<f64> = (0..20_000)
            .map(|query| server.feature_store_wait(query).as_secs_f64())
            .collect();
        waits.sort_by(f64::total_cmp);
        assert!((waits[10_000] - 0.2).abs() < 0.004, "median {}", waits[10_000]);
        let expected = 0.2 * (1.644_854_f64 * 0.35).exp();
        assert!((waits[19_000] - expected).abs() < 0.008, "P95 {}", waits[19_000]);
    }

    #[tokio::test]
    async fn a_file_scales_the_wait_of_every_query() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("scale");
        std::fs::write(&file, "3\n").unwrap();
        let server = Arc::new(server(&[]));
        let before = server.feature_store_wait(3);
        let following = tokio::spawn(follow_store_scale(Arc::clone(&server), file.clone()));
        let becomes = async |factor: f64| {
            while (server.feature_store_wait(3).as_secs_f64() / before.as_secs_f64() - factor).abs() > 1e-3 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let limit = Duration::from_secs(20);
        tokio::time::timeout(limit, becomes(3.0)).await.unwrap();
        std::fs::remove_file(&file).unwrap();
        tokio::time::timeout(limit, becomes(1.0)).await.unwrap();
        following.abort();
    }

    #[tokio::test]
    async fn an_unready_server_says_so() {
        let server = server(&[]);
        server.ready.store(false, Ordering::Release);
        assert_eq!(server.rank(b"{}").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
