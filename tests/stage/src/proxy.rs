//! A server between the operator and another one (the API server, Prometheus, MLflow, a registry) that passes everything on
//! until it is told to misbehave, and remembers what was asked.

use std::{
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::Response,
};
use futures::StreamExt;
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};

use crate::StageError;

/// Longer bodies are cut from what is remembered, and are not passed on.
const MAX_BYTES: usize = 64 << 20;

/// What a request asks for.
#[derive(Clone)]
pub struct Asked {
    /// GET, PATCH, …
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// Its body.
    pub body: Bytes,
    headers: HeaderMap,
}

impl Asked {
    /// Whether it stays open and tells of changes.
    pub fn is_watch(&self) -> bool {
        self.path.contains("watch=true") || self.path.contains("watch=1")
    }

    /// The path without its query.
    pub fn bare_path(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }
}

/// What a test does between a request and its answer.
pub type Hook = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// What is done with a request.
pub enum Act {
    /// Pass it on.
    Forward,
    /// Answer in the other's place.
    Answer(Response),
    /// Pass the answer on, changed.
    Change(fn(Vec<u8>) -> Vec<u8>),
    /// As [`Act::Change`], by a function with a state.
    ChangeBy(Arc<dyn Fn(Vec<u8>) -> Vec<u8> + Send + Sync>),
    /// Ask the other one for this path and query instead.
    Ask(String, Arc<dyn Fn(Vec<u8>) -> Vec<u8> + Send + Sync>),
    /// Deliver the request and never answer.
    LoseAnswer,
    /// Never deliver it, and never answer.
    Swallow,
    /// Deliver it a second time, and answer with what that gave.
    Twice,
    /// Deliver it, and close the connection in the middle of the answer.
    Truncate,
    /// Close the connection before any byte of the answer; nothing is delivered.
    Reset,
    /// Wait for the first hook, deliver, wait for the second, answer.
    Between(Option<Hook>, Option<Hook>),
}

/// Which fault meets the streams of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watches {
    /// Nothing: they flow.
    Flow,
    /// They stay open and tell nothing; what they would have told comes when they flow again.
    HalfOpen,
    /// They end in the middle of a line, and so does each new one.
    Torn,
    /// They tell 410 Gone and end, and so does each new one.
    Gone,
}

/// A request and what became of it.
#[derive(Clone, Debug)]
pub struct Call {
    /// When it came.
    pub at: Instant,
    /// Which life of the client asked ([`Proxy::next_life`]).
    pub life: u32,
    /// GET, PATCH, …
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// Its body.
    pub body: Bytes,
    /// The status of the other one's answer, for each time that it was delivered.
    pub delivered: Vec<u16>,
    /// How often it was passed on and no answer came: it may have been taken.
    pub unanswered: usize,
    /// When each delivery was passed on, and when the other one had answered it.
    pub spans: Vec<(Instant, Instant)>,
    /// The other one's last answer, but for streams.
    pub answer: Bytes,
    /// Whether the client got that answer as it was.
    pub heard: bool,
}

type Rule = Arc<dyn Fn(&Asked) -> Act + Send + Sync>;

/// A running proxy; it ends with this value.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    upstream: String,
    client: reqwest::Client,
    rule: Mutex<Rule>,
    watches: watch::Sender<Watches>,
    calls: Mutex<Vec<Call>>,
    life: AtomicU32,
    touched: AtomicU64,
    changed: Notify,
}

impl Proxy {
    /// In front of a server of plain HTTP.
    pub async fn of(upstream: &str) -> Result<Self, StageError> {
        Self::with(upstream, reqwest::Client::builder()).await
    }

    /// In front of a server whose certificate comes from the authority in this PEM file.
    pub async fn of_tls(upstream: &str, authority: &std::path::Path) -> Result<Self, StageError> {
        let pem = std::fs::read(authority).map_err(StageError::io(format!("read {}", authority.display())))?;
        let roots = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| unexpected(&error))?;
        Self::with(upstream, reqwest::Client::builder().tls_certs_only(roots)).await
    }

    async fn with(upstream: &str, client: reqwest::ClientBuilder) -> Result<Self, StageError> {
        quality_sources::tls::install_crypto();
        let client = client.no_proxy().redirect(reqwest::redirect::Policy::none());
        // Many proxies stand before one server.
        let client = client
            .pool_max_idle_per_host(8)
            .pool_idle_timeout(Duration::from_secs(10));
        let shared = Arc::new(Shared {
            upstream: upstream.trim_end_matches('/').to_owned(),
            client: client.build().map_err(|error| unexpected(&error))?,
            rule: Mutex::new(Arc::new(|_| Act::Forward)),
            watches: watch::Sender::new(Watches::Flow),
            calls: Mutex::default(),
            life: AtomicU32::new(0),
            touched: AtomicU64::new(0),
            changed: Notify::new(),
        });
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.map_err(StageError::io("listen"))?;
        let address = listener.local_addr().map_err(StageError::io("listen"))?;
        let router = Router::new().fallback(handle).with_state(shared.clone());
        let task = tokio::spawn(async move {
            // It ends with its task.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, shared, task })
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on every request is handled so.
    pub fn rule(&self, rule: impl Fn(&Asked) -> Act + Send + Sync + 'static) {
        *lock(&self.shared.rule) = Arc::new(rule);
    }

    /// From now on everything is passed on.
    pub fn behave(&self) {
        self.rule(|_| Act::Forward);
        self.watches(Watches::Flow);
    }

    /// From now on this fault is on the streams of changes, those that are open too.
    pub fn watches(&self, watches: Watches) {
        self.shared.watches.send_replace(watches);
    }

    /// The client was started anew: what it asks from now on is of another life.
    pub fn next_life(&self) {
        self.shared.life.fetch_add(1, Ordering::SeqCst);
    }

    /// All that was asked so far, in the order in which it came.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.shared.calls).clone()
    }

    /// A number that grows whenever the record changes.
    pub fn touched(&self) -> u64 {
        self.shared.touched.load(Ordering::SeqCst)
    }

    /// What was asked so far is forgotten.
    pub fn forget(&self) {
        lock(&self.shared.calls).clear();
    }

    /// Waits until a request was taken in or answered.
    pub async fn moved(&self) {
        self.shared.changed.notified().await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unexpected(error: &reqwest::Error) -> StageError {
    StageError::Unexpected(format!("the proxy's client: {error}"))
}

async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MAX_BYTES).await else {
        return answer(StatusCode::BAD_REQUEST, Body::empty());
    };
    let asked = Asked {
        path: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        method: parts.method,
        headers: parts.headers,
        body,
    };
    let rule = lock(&shared.rule).clone();
    let act = rule(&asked);
    let number = shared.enter(&asked);
    // What is on its way arrives though the client is killed meanwhile, as it does on a network.
    let done = tokio::spawn(async move {
        let response = act.done(&shared, &asked, number).await;
        shared.changed.notify_waiters();
        response
    });
    done.await
        .unwrap_or_else(|_| answer(StatusCode::BAD_GATEWAY, Body::empty()))
}

impl Act {
    async fn done(self, shared: &Arc<Shared>, asked: &Asked, number: usize) -> Response {
        match self {
            Self::Forward => {
                let response = shared.forward(asked, number).await;
                shared.note(number, |call| call.heard = true);
                response
            }
            Self::Answer(response) => response,
            Self::Change(change) => changed(shared.forward(asked, number).await, change).await,
            Self::ChangeBy(change) => changed(shared.forward(asked, number).await, |bytes| change(bytes)).await,
            Self::Ask(path, change) => {
                let other = Asked { path, ..asked.clone() };
                changed(shared.forward(&other, number).await, |bytes| change(bytes)).await
            }
            Self::LoseAnswer => {
                shared.forward(asked, number).await;
                shared.changed.notify_waiters();
                std::future::pending().await
            }
            Self::Swallow => {
                shared.changed.notify_waiters();
                std::future::pending().await
            }
            Self::Twice => {
                shared.forward(asked, number).await;
                let response = shared.forward(asked, number).await;
                shared.note(number, |call| call.heard = true);
                response
            }
            Self::Truncate => cut(shared.forward(asked, number).await).await,
            Self::Reset => broken(Vec::new()),
            Self::Between(before, after) => {
                if let Some(before) = before {
                    before().await;
                }
                let response = shared.forward(asked, number).await;
                if let Some(after) = after {
                    after().await;
                }
                shared.note(number, |call| call.heard = true);
                response
            }
        }
    }
}

impl Shared {
    fn enter(&self, asked: &Asked) -> usize {
        let mut calls = lock(&self.calls);
        self.touched.fetch_add(1, Ordering::SeqCst);
        calls.push(Call {
            at: Instant::now(),
            life: self.life.load(Ordering::SeqCst),
            method: asked.method.clone(),
            path: asked.path.clone(),
            body: asked.body.clone(),
            delivered: Vec::new(),
            unanswered: 0,
            spans: Vec::new(),
            answer: Bytes::new(),
            heard: false,
        });
        calls.len() - 1
    }

    fn note(&self, number: usize, write: impl FnOnce(&mut Call)) {
        // None when it was forgotten meanwhile.
        if let Some(call) = lock(&self.calls).get_mut(number) {
            self.touched.fetch_add(1, Ordering::SeqCst);
            write(call);
        }
    }

    /// What is passed on is noted also where the client is gone before the answer comes.
    async fn forward(self: &Arc<Self>, asked: &Asked, number: usize) -> Response {
        let passing = tokio::spawn(self.clone().pass_on(asked.clone(), number));
        passing
            .await
            .unwrap_or_else(|_| answer(StatusCode::BAD_GATEWAY, Body::empty()))
    }

    async fn pass_on(self: Arc<Self>, asked: Asked, number: usize) -> Response {
        let mut headers = asked.headers.clone();
        for hop in [
            header::HOST,
            header::CONTENT_LENGTH,
            header::CONNECTION,
            header::TRANSFER_ENCODING,
        ] {
            headers.remove(hop);
        }
        let url = format!("{}{}", self.upstream, asked.path);
        let request = self.client.request(asked.method.clone(), url);
        let passed = Instant::now();
        let response = match request.headers(headers).body(asked.body.clone()).send().await {
            Ok(response) => response,
            Err(error) => {
                if !error.is_connect() {
                    self.note(number, |call| call.unanswered += 1);
                }
                return answer(StatusCode::BAD_GATEWAY, Body::empty());
            }
        };
        let (status, headers) = (response.status(), response.headers().clone());
        self.note(number, |call| {
            call.delivered.push(status.as_u16());
            call.spans.push((passed, Instant::now()));
        });
        let body = if asked.is_watch() && status == StatusCode::OK {
            watched(response, self.watches.subscribe())
        } else {
            let Ok(bytes) = response.bytes().await else {
                return answer(StatusCode::BAD_GATEWAY, Body::empty());
            };
            self.note(number, |call| call.answer = bytes.clone());
            Body::from(bytes)
        };
        let mut passed = answer(status, body);
        for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::RETRY_AFTER] {
            if let Some(value) = headers.get(&name) {
                passed.headers_mut().insert(name, value.clone());
            }
        }
        passed
    }
}

/// A stream of changes, as long as it is left alone.
fn watched(response: reqwest::Response, watches: watch::Receiver<Watches>) -> Body {
    const GONE: &[u8] =
        b"{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"status\":\"Failure\",\
        \"message\":\"too old resource version\",\"reason\":\"Expired\",\"code\":410}}\n";
    let upstream = Box::pin(response.bytes_stream());
    let stream = futures::stream::unfold(Some((upstream, watches)), |state| async move {
        let (mut upstream, mut watches) = state?;
        loop {
            let now = *watches.borrow_and_update();
            match now {
                Watches::Flow => tokio::select! {
                    chunk = upstream.next() => {
                        let chunk = chunk?.map_err(std::io::Error::other);
                        return Some((chunk, Some((upstream, watches))));
                    }
                    changed = watches.changed() => changed.ok()?,
                },
                Watches::HalfOpen => watches.changed().await.ok()?,
                Watches::Torn => return Some((Ok(Bytes::from_static(b"{\"type\":\"MODIFIED\",\"obj")), None)),
                Watches::Gone => return Some((Ok(Bytes::from_static(GONE)), None)),
            }
        }
    });
    Body::from_stream(stream)
}

async fn changed(response: Response, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Response {
    let (mut parts, body) = response.into_parts();
    let Ok(whole) = axum::body::to_bytes(body, MAX_BYTES).await else {
        return answer(StatusCode::BAD_GATEWAY, Body::empty());
    };
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(change(whole.to_vec())))
}

/// The first half of the answer, and then no more.
async fn cut(response: Response) -> Response {
    let whole = axum::body::to_bytes(response.into_body(), MAX_BYTES).await;
    let whole = whole.unwrap_or_default();
    broken(vec![whole.slice(..whole.len() / 2)])
}

/// An answer whose connection breaks after these bytes.
fn broken(bytes: Vec<Bytes>) -> Response {
    let end = Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
    let chunks = bytes.into_iter().map(Ok).chain([end]);
    answer(StatusCode::OK, Body::from_stream(futures::stream::iter(chunks)))
}

/// An answer with this body.
pub fn answer(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response
}

/// A body that goes on as long as it is read, a chunk at a time.
pub fn endless(chunk: &'static [u8], pause: Duration) -> Body {
    let chunks = futures::stream::repeat(()).then(move |()| async move {
        tokio::time::sleep(pause).await;
        Ok::<_, std::io::Error>(Bytes::from_static(chunk))
    });
    Body::from_stream(chunks)
}

/// What the API server says when it fails on purpose.
pub fn failure(code: StatusCode) -> Response {
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "on purpose",
        "code": code.as_u16(), "reason": "OnPurpose",
    });
    answer(code, status.to_string())
}
