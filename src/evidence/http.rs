//! HTTP to servers that the administrator named: bounded in time and bytes, no redirects, credentials from files
//! that are read anew for each request. Errors hold nothing that a server sent.

use std::{io, path::PathBuf, time::Duration};

use futures::{Stream, StreamExt, TryStreamExt};
use reqwest::{Client, ClientBuilder, Method, Response, StatusCode, Url, header};
use tokio_util::{
    bytes::Bytes,
    io::{StreamReader, SyncIoBridge},
};

use crate::config::BasicAuth;

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
pub enum Patience {
    /// The whole of one request must end within this time.
    Whole(Duration),
    /// An answer must begin, and go on after each pause, within this time: for long files.
    EachStep(Duration),
}

/// A client that follows no redirect and uses no proxy of the environment.
pub fn client(patience: Patience, ca_file: Option<&PathBuf>) -> Result<Client, HttpError> {
    let setup = |error: &dyn std::fmt::Display| HttpError::Setup(error.to_string());
    let mut builder = waiting(Client::builder(), patience)
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(8)
        .no_proxy()
        .user_agent(concat!("quality-officer/", env!("CARGO_PKG_VERSION")));
    if let Some(path) = ca_file {
        let pem = std::fs::read(path).map_err(HttpError::Credential)?;
        let roots = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| setup(&error))?;
        builder = builder.tls_certs_only(roots);
    }
    builder.build().map_err(|error| setup(&error))
}

fn waiting(builder: ClientBuilder, patience: Patience) -> ClientBuilder {
    let connect = Duration::from_secs(3);
    match patience {
        Patience::Whole(time) => builder.timeout(time).connect_timeout(time.min(connect)),
        Patience::EachStep(time) => builder.read_timeout(time).connect_timeout(time.min(connect)),
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
        self.send(Method::GET, path, parameters, None).await
    }

    /// The answer to a PUT below the base URL, when its status is 200.
    pub async fn put(&self, path: impl IntoIterator<Item = &str>, body: String) -> Result<Response, HttpError> {
        self.send(Method::PUT, path, &[], Some(body)).await
    }

    async fn send(
        &self,
        method: Method,
        path: impl IntoIterator<Item = &str>,
        parameters: &[(&str, String)],
        body: Option<String>,
    ) -> Result<Response, HttpError> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| HttpError::Setup("the url cannot have a path".to_owned()))?
            .pop_if_empty()
            .extend(path);
        if !parameters.is_empty() {
            url.query_pairs_mut().extend_pairs(parameters);
        }
        let mut request = self.client.request(method, url).header(header::ACCEPT, "*/*");
        if let Some(body) = body {
            request = request.body(body);
        }
        if let Some(tenant) = &self.access.tenant {
            request = request.header("X-Scope-OrgID", tenant);
        }
        if let Some(path) = &self.access.bearer_token_file {
            let token = tokio::fs::read_to_string(path).await.map_err(HttpError::Credential)?;
            request = request.bearer_auth(token.trim());
        }
        if let Some(basic) = &self.access.basic_auth {
            let password = tokio::fs::read_to_string(&basic.password_file)
                .await
                .map_err(HttpError::Credential)?;
            request = request.basic_auth(&basic.username, Some(password.trim_end_matches(['\r', '\n'])));
        }
        let response = request.send().await.map_err(|error| connection(&error))?;
        match response.status() {
            StatusCode::OK => Ok(response),
            other => Err(HttpError::Status(other.as_u16())),
        }
    }
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
const LONGEST: Duration = Duration::from_secs(600);

/// A stream of bytes as a reader that fails with `FileTooLarge` after `limit` of them.
pub fn bounded(stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static, limit: u64) -> Body {
    let deadline = tokio::time::Instant::now() + LONGEST;
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
