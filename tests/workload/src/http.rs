//! A small HTTP client for loopback addresses, with connection reuse.

use std::{net::SocketAddr, time::Duration};

use axum::{
    body::Bytes,
    http::{Method, Request, StatusCode, header::CONTENT_TYPE},
};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client as Pool, connect::HttpConnector},
    rt::TokioExecutor,
};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address is not on this machine.
    #[error("{0} is not a loopback address")]
    NotLoopback(SocketAddr),
    /// No answer within the limit.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The request could not be built.
    #[error("building the request: {0}")]
    Request(#[from] axum::http::Error),
    /// No connection could be made.
    #[error("connecting: {0}")]
    Connect(hyper_util::client::legacy::Error),
    /// The connection ended before the answer was complete.
    #[error("receiving: {0}")]
    Receive(String),
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: StatusCode,
    /// The whole body.
    pub body: Bytes,
}

impl Answer {
    /// The body as text, invalid UTF-8 replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Talks to loopback addresses only.
#[derive(Debug, Clone)]
pub struct Client {
    pool: Pool<HttpConnector, Full<Bytes>>,
    timeout: Duration,
}

impl Client {
    /// A client that waits at most `timeout` for each complete answer.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self {
            pool: Pool::builder(TokioExecutor::new()).build(connector),
            timeout,
        }
    }

    /// GET `path`.
    pub async fn get(&self, address: SocketAddr, path: &str) -> Result<Answer, HttpError> {
        self.send(Method::GET, address, path, Bytes::new()).await
    }

    /// POST a JSON body to `path`.
    pub async fn post(&self, address: SocketAddr, path: &str, body: impl Into<Bytes>) -> Result<Answer, HttpError> {
        self.send(Method::POST, address, path, body.into()).await
    }

    async fn send(&self, method: Method, address: SocketAddr, path: &str, body: Bytes) -> Result<Answer, HttpError> {
        if !address.ip().is_loopback() {
            return Err(HttpError::NotLoopback(address));
        }
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{address}{path}"))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        let exchange = async {
            let response = self.pool.request(request).await.map_err(|error| {
                if error.is_connect() {
                    HttpError::Connect(error)
                } else {
                    HttpError::Receive(error.to_string())
                }
            })?;
            let status = response.status();
            let body = response
                .into_body()
                .collect()
                .await
                .map_err(|error| HttpError::Receive(error.to_string()))?;
            Ok(Answer {
                status,
                body: body.to_bytes(),
            })
        };
        tokio::time::timeout(self.timeout, exchange)
            .await
            .map_err(|_| HttpError::Timeout(self.timeout))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_of_another_machine_is_refused() {
        let client = Client::new(Duration::from_secs(1));
        let answer = client.get(SocketAddr::from(([192, 0, 2, 1], 80)), "/").await;
        assert!(matches!(answer, Err(HttpError::NotLoopback(_))));
    }
}
