//! A server that keeps what it is sent, and answers as it is told: a receiver of notifications, or a proxy on the way.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::Response,
    serve::Listener,
};
use bed::certificates::Authority;
use quality_sources::tls::install_crypto;
use serde_json::Value;
use stage::Space;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::WebPkiClientVerifier,
    },
    server::TlsStream,
};

use crate::proxy::answer;

/// A request that came.
#[derive(Clone, Debug)]
pub struct Sent {
    /// As the request line has it: whole where the server is a proxy.
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Value,
    /// What it was answered.
    pub answered: StatusCode,
}

/// How a request is answered.
#[derive(Clone, Copy, Debug)]
pub enum Reply {
    Status(StatusCode),
    /// 429 with `Retry-After`, seconds.
    Later(u64),
    /// 302 to somewhere else.
    Elsewhere(SocketAddr),
    /// Nothing for this long, then 200.
    Slow(Duration),
}

type Rule = Arc<dyn Fn(usize) -> Reply + Send + Sync>;

struct Shared {
    sent: Mutex<Vec<Sent>>,
    rule: Mutex<Rule>,
}

pub struct Capture {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Capture {
    /// Plain HTTP, everything is taken.
    pub async fn start() -> Self {
        Self::at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await
    }

    /// The same at an address of the caller's choice.
    pub async fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        Self::serve(listener, address, "http")
    }

    /// TLS with a certificate of this authority, for clients with one of it.
    pub async fn tls(authority: &Authority) -> Self {
        install_crypto();
        let identity = authority.server().unwrap();
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(authority.identity().certificate.as_bytes()).unwrap();
        roots.add(root).unwrap();
        let clients = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
        let chain = CertificateDer::pem_slice_iter(identity.certificate.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
        let config = ServerConfig::builder()
            .with_client_cert_verifier(clients)
            .with_single_cert(chain.map(Result::unwrap).collect(), key)
            .unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Self::serve(Tls { listener, acceptor }, address, "https")
    }

    fn serve<L: Listener<Addr = SocketAddr>>(listener: L, address: SocketAddr, scheme: &'static str) -> Self {
        let take: Rule = Arc::new(|_| Reply::Status(StatusCode::OK));
        let shared = Arc::new(Shared {
            sent: Mutex::default(),
            rule: Mutex::new(take),
        });
        let router = Router::new().fallback(handle).with_state(shared.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            address,
            scheme,
            shared,
            task,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// From now on request number n, from 0, is answered so.
    pub fn rule(&self, rule: impl Fn(usize) -> Reply + Send + Sync + 'static) {
        *self.shared.rule.lock().unwrap() = Arc::new(rule);
    }

    /// Everything that came.
    pub fn sent(&self) -> Vec<Sent> {
        self.shared.sent.lock().unwrap().clone()
    }

    /// What was taken.
    pub fn taken(&self) -> Vec<Value> {
        let sent = self.sent().into_iter();
        sent.filter(|sent| sent.answered == StatusCode::OK)
            .map(|sent| sent.body)
            .collect()
    }

    /// The types of the events that were taken, without their common beginning.
    pub fn kinds(&self) -> Vec<String> {
        let kind = |event: &Value| {
            event["type"]
                .as_str()
                .unwrap_or_default()
                .replace("dev.quality-officer.", "")
        };
        self.taken().iter().map(kind).collect()
    }

    /// Waits until `holds` is true of all that came.
    pub async fn wait(&self, space: &Space, what: &str, holds: impl Fn(&[Sent]) -> bool) -> Vec<Sent> {
        let read = || async { Ok(self.sent()) };
        let found = space.poll(what, Duration::from_secs(150), read, |sent: &Vec<Sent>| holds(sent));
        found.await.unwrap()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    // Another test's look for a free port.
    if request.method() == Method::GET {
        return answer(StatusCode::METHOD_NOT_ALLOWED, "only what is posted is kept");
    }
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap_or_default();
    let rule = shared.rule.lock().unwrap().clone();
    let number = shared.sent.lock().unwrap().len();
    let reply = rule(number);
    let answered = match reply {
        Reply::Status(status) => status,
        Reply::Later(_) => StatusCode::TOO_MANY_REQUESTS,
        Reply::Elsewhere(_) => StatusCode::FOUND,
        // A receiver that gave up before does not know.
        Reply::Slow(_) => StatusCode::REQUEST_TIMEOUT,
    };
    shared.sent.lock().unwrap().push(Sent {
        uri: parts.uri,
        headers: parts.headers,
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        answered,
    });
    if let Reply::Slow(time) = reply {
        tokio::time::sleep(time).await;
    }
    let mut response = answer(answered, "an answer that is not repeated");
    let headers = response.headers_mut();
    match reply {
        Reply::Later(seconds) => drop(headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds))),
        Reply::Elsewhere(address) => {
            let place = HeaderValue::from_str(&format!("http://{address}/")).unwrap();
            headers.insert(header::LOCATION, place);
        }
        Reply::Status(_) | Reply::Slow(_) => {}
    }
    response
}

struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.listener).await;
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}
