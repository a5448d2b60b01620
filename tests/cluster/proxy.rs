//! A server between the operator and another one (Prometheus, the API server) that passes everything on until it is
//! told to misbehave.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::Response,
};
use futures::StreamExt;
use tokio::task::JoinHandle;

/// What a request asks for.
pub struct Asked {
    pub method: Method,
    /// Path and query.
    pub path: String,
    pub body: Bytes,
    headers: HeaderMap,
}

/// What is done with a request.
pub enum Act {
    Forward,
    /// Answer in the other's place.
    Answer(Response),
    /// Pass the answer on, changed.
    Change(fn(Vec<u8>) -> Vec<u8>),
    /// Deliver the request and never answer.
    LoseAnswer,
    /// Never deliver it, and never answer.
    Swallow,
    /// Deliver it a second time, and answer with what that gave.
    Twice,
}

type Rule = Arc<dyn Fn(&Asked) -> Act + Send + Sync>;

pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    upstream: String,
    client: reqwest::Client,
    rule: Mutex<Rule>,
}

impl Proxy {
    /// In front of a server of plain HTTP.
    pub async fn of(upstream: &str) -> Self {
        Self::with(upstream, reqwest::Client::builder()).await
    }

    /// In front of a server whose certificate comes from the authority in this PEM file.
    pub async fn of_tls(upstream: &str, authority: &std::path::Path) -> Self {
        let pem = std::fs::read(authority).unwrap();
        let roots = reqwest::Certificate::from_pem_bundle(&pem).unwrap();
        Self::with(upstream, reqwest::Client::builder().tls_certs_only(roots)).await
    }

    async fn with(upstream: &str, client: reqwest::ClientBuilder) -> Self {
        quality_officer::client::install_crypto();
        let client = client.no_proxy().redirect(reqwest::redirect::Policy::none());
        let forward: Rule = Arc::new(|_| Act::Forward);
        let shared = Arc::new(Shared {
            upstream: upstream.trim_end_matches('/').to_owned(),
            client: client.build().unwrap(),
            rule: Mutex::new(forward),
        });
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(handle).with_state(shared.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, shared, task }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on every request is handled so.
    pub fn rule(&self, rule: impl Fn(&Asked) -> Act + Send + Sync + 'static) {
        *self.shared.rule.lock().unwrap() = Arc::new(rule);
    }

    /// From now on everything is passed on.
    pub fn behave(&self) {
        self.rule(|_| Act::Forward);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, 64 << 20).await else {
        return answer(StatusCode::BAD_REQUEST, Body::empty());
    };
    let asked = Asked {
        path: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        method: parts.method,
        headers: parts.headers,
        body,
    };
    let rule = shared.rule.lock().unwrap().clone();
    match rule(&asked) {
        Act::Forward => forward(&shared, &asked).await,
        Act::Answer(response) => response,
        Act::Change(change) => {
            let response = forward(&shared, &asked).await;
            let status = response.status();
            let whole = axum::body::to_bytes(response.into_body(), 64 << 20).await;
            whole.map_or_else(
                |_| answer(StatusCode::BAD_GATEWAY, Body::empty()),
                |whole| answer(status, Body::from(change(whole.to_vec()))),
            )
        }
        Act::LoseAnswer => {
            forward(&shared, &asked).await;
            std::future::pending().await
        }
        Act::Swallow => std::future::pending().await,
        Act::Twice => {
            forward(&shared, &asked).await;
            forward(&shared, &asked).await
        }
    }
}

async fn forward(shared: &Shared, asked: &Asked) -> Response {
    let mut headers = asked.headers.clone();
    for hop in [
        header::HOST,
        header::CONTENT_LENGTH,
        header::CONNECTION,
        header::TRANSFER_ENCODING,
    ] {
        headers.remove(hop);
    }
    let url = format!("{}{}", shared.upstream, asked.path);
    let request = shared.client.request(asked.method.clone(), url);
    match request.headers(headers).body(asked.body.clone()).send().await {
        Ok(response) => {
            let (status, kind) = (response.status(), response.headers().get(header::CONTENT_TYPE).cloned());
            let mut passed = answer(status, Body::from_stream(response.bytes_stream()));
            passed
                .headers_mut()
                .extend(kind.map(|kind| (header::CONTENT_TYPE, kind)));
            passed
        }
        Err(_) => answer(StatusCode::BAD_GATEWAY, Body::empty()),
    }
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
