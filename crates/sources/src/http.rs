//! HTTP to servers that the administrator named: bounded in time and bytes, no redirects, credentials from files
//! that are read anew for each request. Errors hold nothing that a server sent.

use std::{io, path::PathBuf, time::Duration};

use futures::{Stream, StreamExt, TryStreamExt};
use reqwest::{Client, ClientBuilder, Method, RequestBuilder, Response, StatusCode, Url, header};
use tokio_util::{
    bytes::Bytes,
    io::{StreamReader, SyncIoBridge},
};

use crate::settings::BasicAuth;

/// Why there is no usable answer; a sentence with the server as its subject.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The client could not be made.
    #[error("is not usable: {0}")]
    Setup(String),
    /// A credential could not be read.
    #[error("has a credential file that cannot be read: {0}")]
    Credential(io::Error),
    /// No connection, or it broke off.
    #[error("did not answer")]
    Connection,
    /// It took too long.
    #[error("did not answer in time")]
    Timeout,
    /// It answered with another status than 200.
    #[error("answered with status {0}")]
    Status(u16),
    /// The answer is too long.
    #[error("gave an answer longer than {0} bytes")]
    TooLong(u64),
}

impl HttpError {
    /// A stable word for the operator's own metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Setup(_) => "setup",
            Self::Credential(_) => "credential",
            Self::Connection => "connection",
            Self::Timeout => "timeout",
            Self::Status(_) => "status",
            Self::TooLong(_) => "too_long",
        }
    }
}

/// How a client waits.
#[derive(Clone, Copy, Debug)]
pub enum TimeoutPolicy {
    /// The whole of one request must end within this time.
    Whole(Duration),
    /// An answer must begin, and go on after each pause, within this time: for long files.
    EachStep(Duration),
}

/// What lies between us and a server, as the administrator set it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Transport<'a> {
    /// File with the authorities that the server's certificate must come from.
    pub ca_file: Option<&'a PathBuf>,
    /// Files with the certificate that we show and its key.
    pub identity: Option<(&'a PathBuf, &'a PathBuf)>,
    /// The HTTP proxy.
    pub proxy: Option<&'a str>,
}

/// A client that follows no redirect and uses no proxy.
pub fn client(patience: TimeoutPolicy, ca_file: Option<&PathBuf>) -> Result<Client, HttpError> {
    let way = Transport {
        ca_file,
        ..Transport::default()
    };
    client_on(patience, way)
}

/// A client that follows no redirect and uses no proxy of the environment.
pub fn client_on(patience: TimeoutPolicy, way: Transport<'_>) -> Result<Client, HttpError> {
    let setup = |error: &dyn std::fmt::Display| HttpError::Setup(error.to_string());
    let mut builder = waiting(Client::builder(), patience)
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(8)
        .no_proxy()
        .user_agent(concat!("quality-officer/", env!("CARGO_PKG_VERSION")));
    if let Some(path) = way.ca_file {
        let pem = std::fs::read(path).map_err(HttpError::Credential)?;
        let roots = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| setup(&error))?;
        builder = builder.tls_certs_only(roots);
    }
    if let Some((certificate, key)) = way.identity {
        let mut pem = std::fs::read(certificate).map_err(HttpError::Credential)?;
        pem.push(b'\n');
        pem.extend(std::fs::read(key).map_err(HttpError::Credential)?);
        // The library's words may hold what the files hold.
        let unusable = |_| HttpError::Setup("its client certificate or key is not usable".to_owned());
        builder = builder.identity(reqwest::Identity::from_pem(&pem).map_err(unusable)?);
    }
    if let Some(proxy) = way.proxy {
        builder = builder.proxy(reqwest::Proxy::all(proxy).map_err(|error| setup(&error))?);
    }
    builder.build().map_err(|error| setup(&error))
}

fn waiting(builder: ClientBuilder, patience: TimeoutPolicy) -> ClientBuilder {
    let connect = Duration::from_secs(3);
    match patience {
        TimeoutPolicy::Whole(time) => builder.timeout(time).connect_timeout(time.min(connect)),
        TimeoutPolicy::EachStep(time) => builder.read_timeout(time).connect_timeout(time.min(connect)),
    }
}

/// One server.
pub struct Http {
    client: Client,
    base: Url,
    access: Access,
}

/// How a server lets us in.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// File with a bearer token.
    pub bearer_token_file: Option<PathBuf>,
    /// Basic authentication.
    pub basic_auth: Option<BasicAuth>,
    /// Sent as `X-Scope-OrgID`.
    pub tenant: Option<String>,
}

impl Access {
    /// A request with the credentials, read now.
    async fn show(&self, mut request: RequestBuilder) -> Result<RequestBuilder, HttpError> {
        if let Some(tenant) = &self.tenant {
            request = request.header("X-Scope-OrgID", tenant);
        }
        if let Some(path) = &self.bearer_token_file {
            let token = tokio::fs::read_to_string(path).await.map_err(HttpError::Credential)?;
            request = request.bearer_auth(token.trim());
        }
        if let Some(basic) = &self.basic_auth {
            request = with_password(request, basic).await?;
        }
        Ok(request)
    }
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The status of the answer, whose body is not read.
    pub status: u16,
    /// How long the server asks us to wait.
    pub retry_after: Option<Duration>,
}

/// Sends a message to a URL.
pub async fn post(
    client: &Client,
    url: Url,
    access: &Access,
    content_type: &str,
    body: String,
) -> Result<Answered, HttpError> {
    let request = client
        .request(Method::POST, url)
        .header(header::CONTENT_TYPE, content_type)
        .body(body);
    let response = send(access.show(request).await?).await?;
    let header = response.headers().get(header::RETRY_AFTER);
    let seconds = header.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    Ok(Answered {
        status: response.status().as_u16(),
        retry_after: seconds.map(Duration::from_secs),
    })
}

impl Http {
    /// A server at `url`.
    pub fn new(url: &str, access: Access, client: Client) -> Result<Self, HttpError> {
        let base = Url::parse(&format!("{}/", url.trim_end_matches('/')))
            .map_err(|error| HttpError::Setup(error.to_string()))?;
        Ok(Self { client, base, access })
    }

    /// The answer to a GET below the base URL, when its status is 200. `path` is made of segments that are escaped here.
    pub async fn get(
        &self,
        path: impl IntoIterator<Item = &str>,
        parameters: &[(&str, String)],
    ) -> Result<Response, HttpError> {
        self.allowed(Method::GET, path, parameters, None).await
    }

    /// The answer to a PUT below the base URL, when its status is 200.
    pub async fn put(&self, path: impl IntoIterator<Item = &str>, body: String) -> Result<Response, HttpError> {
        self.allowed(Method::PUT, path, &[], Some(body)).await
    }

    async fn allowed(
        &self,
        method: Method,
        path: impl IntoIterator<Item = &str>,
        parameters: &[(&str, String)],
        body: Option<String>,
    ) -> Result<Response, HttpError> {
        let mut request = self.request(method, path, parameters)?.header(header::ACCEPT, "*/*");
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = send(self.access.show(request).await?).await?;
        match response.status() {
            StatusCode::OK => Ok(response),
            other => Err(HttpError::Status(other.as_u16())),
        }
    }

    /// A request below the base URL, with no credentials yet. `path` is made of segments that are escaped here.
    pub fn request<'a>(
        &self,
        method: Method,
        path: impl IntoIterator<Item = &'a str>,
        parameters: &[(&str, String)],
    ) -> Result<RequestBuilder, HttpError> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| HttpError::Setup("the url cannot have a path".to_owned()))?
            .pop_if_empty()
            .extend(path);
        if !parameters.is_empty() {
            url.query_pairs_mut().extend_pairs(parameters);
        }
        Ok(self.client.request(method, url))
    }
}

/// Adds basic authentication, its password read now.
pub async fn with_password(request: RequestBuilder, basic: &BasicAuth) -> Result<RequestBuilder, HttpError> {
    let password = tokio::fs::read_to_string(&basic.password_file)
        .await
        .map_err(HttpError::Credential)?;
    Ok(request.basic_auth(&basic.username, Some(password.trim_end_matches(['\r', '\n']))))
}

/// The answer to a request, whatever its status.
pub async fn send(request: RequestBuilder) -> Result<Response, HttpError> {
    request.send().await.map_err(|error| connection(&error))
}

fn connection(error: &reqwest::Error) -> HttpError {
    if error.is_timeout() {
        HttpError::Timeout
    } else {
        HttpError::Connection
    }
}

/// The bytes of an answer, for a parser that reads. Use it on a thread that may block.
pub type Body = SyncIoBridge<StreamReader<std::pin::Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>, Bytes>>;

/// The body of an answer of at most `limit` bytes.
pub fn body(response: Response, limit: u64) -> Result<Body, HttpError> {
    if response.content_length().is_some_and(|length| length > limit) {
        return Err(HttpError::TooLong(limit));
    }
    let stream = response.bytes_stream().map_err(|error| {
        let kind = if error.is_timeout() {
            io::ErrorKind::TimedOut
        } else {
            io::ErrorKind::ConnectionAborted
        };
        io::Error::new(kind, error)
    });
    Ok(bounded(stream, limit))
}

/// No answer takes longer, however steadily it drips: the thread that reads it is free again then.
const MAX_DURATION: Duration = Duration::from_secs(600);

/// A stream of bytes as a reader that fails with `FileTooLarge` after `limit` of them.
pub fn bounded(stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static, limit: u64) -> Body {
    let deadline = tokio::time::Instant::now() + MAX_DURATION;
    let bounded = futures::stream::try_unfold((Box::pin(stream), limit), move |(mut stream, left)| async move {
        let Ok(next) = tokio::time::timeout_at(deadline, stream.next()).await else {
            return Err(io::Error::from(io::ErrorKind::TimedOut));
        };
        let Some(chunk) = next.transpose()? else {
            return Ok(None);
        };
        let left = left
            .checked_sub(chunk.len() as u64)
            .ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
        Ok(Some((chunk, (stream, left))))
    });
    SyncIoBridge::new(StreamReader::new(Box::pin(bounded)))
}

/// All bytes of a short answer, which must end within `within`.
pub async fn whole(response: Response, limit: u64, within: Duration) -> Result<Vec<u8>, HttpError> {
    let mut stream = response.bytes_stream();
    let read = async {
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk.map_err(|error| connection(&error))?);
            if bytes.len() as u64 > limit {
                return Err(HttpError::TooLong(limit));
            }
        }
        Ok(bytes)
    };
    tokio::time::timeout(within, read)
        .await
        .map_err(|_| HttpError::Timeout)?
}

/// What a parser met while it read an answer of at most `limit` bytes.
pub fn while_reading(kind: io::ErrorKind, limit: u64) -> HttpError {
    match kind {
        io::ErrorKind::FileTooLarge => HttpError::TooLong(limit),
        io::ErrorKind::TimedOut => HttpError::Timeout,
        _ => HttpError::Connection,
    }
}
