//! Small HTTP requests: is a server ready, does an object exist, create one; and any request, for what tests ask of
//! the servers they start.

use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::http::{HeaderMap, Method, Request, StatusCode};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

use crate::certificates::Identity;

pub use ureq::http;

/// A server that does not answer within this is asked again.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A longer body is refused.
const MAX_BYTES: u64 = 64 << 20;

/// A request failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A certificate or key could not be read.
    #[error("the client's certificates cannot be used")]
    Certificates(#[source] ureq::Error),
    /// There was no answer.
    #[error("{url} does not answer")]
    NoAnswer {
        /// What was asked.
        url: String,
        /// Why.
        source: ureq::Error,
    },
    /// It is no request.
    #[error("no request can be made of {url}")]
    Request {
        /// What was to be asked.
        url: String,
        /// Why not.
        source: ureq::http::Error,
    },
    /// The server said no.
    #[error("{url} answers {status}: {body}")]
    Refused {
        /// What was asked.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What it said.
        body: String,
    },
}

/// What a server answered, whatever its status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The header of that name, empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The body as text, for messages and XML.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// This answer, or an error when its status is not 2xx.
    pub fn accepted(self, url: &str) -> Result<Self, Error> {
        if self.status.is_success() {
            return Ok(self);
        }
        Err(Error::Refused {
            url: url.to_owned(),
            status: self.status.as_u16(),
            body: self.text(),
        })
    }
}

/// An HTTP client.
#[derive(Clone, Debug)]
pub struct Rest(Agent);

impl Rest {
    /// For servers without TLS.
    pub fn plain() -> Self {
        Self::with(TlsConfig::default())
    }

    /// For servers with a certificate of this authority (PEM), known to them as `client`.
    pub fn with_identity(authority: &str, client: &Identity) -> Result<Self, Error> {
        let certificate = |pem: &str| Certificate::from_pem(pem.as_bytes()).map_err(Error::Certificates);
        let key = PrivateKey::from_pem(client.key.as_bytes()).map_err(Error::Certificates)?;
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&[certificate(authority)?]))
            .client_cert(Some(ClientCert::new_with_certs(
                &[certificate(&client.certificate)?],
                key,
            )))
            .build();
        Ok(Self::with(tls))
    }

    fn with(tls: TlsConfig) -> Self {
        let config = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            // Everything is on this machine, whatever the environment says of proxies.
            .proxy(None);
        Self(config.build().new_agent())
    }

    /// Whether the URL answers with a status of 2xx.
    pub fn is_ok(&self, url: &str) -> bool {
        self.0
            .get(url)
            .call()
            .is_ok_and(|response| response.status().is_success())
    }

    /// The JSON document at the URL.
    pub fn get(&self, url: &str) -> Result<Value, Error> {
        let failed = |source| Error::NoAnswer {
            url: url.to_owned(),
            source,
        };
        read(url, self.0.get(url).call().map_err(failed)?)
    }

    /// Sends any request; a redirect and a refusal are answers too.
    pub fn send(&self, method: &Method, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer, Error> {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let failed = |source| Error::NoAnswer {
            url: url.to_owned(),
            source,
        };
        let unusable = |source| Error::Request {
            url: url.to_owned(),
            source,
        };
        let response = if body.is_empty() && [Method::GET, Method::HEAD, Method::DELETE].contains(method) {
            self.0.run(request.body(()).map_err(unusable)?)
        } else {
            self.0.run(request.body(body).map_err(unusable)?)
        };
        let (parts, mut body) = response.map_err(failed)?.into_parts();
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.with_config().limit(MAX_BYTES).read_to_vec().map_err(failed)?,
        })
    }

    /// Creates an object in the collection at the URL.
    pub fn create(&self, url: &str, object: &Value) -> Result<Value, Error> {
        let failed = |source| Error::NoAnswer {
            url: url.to_owned(),
            source,
        };
        read(url, self.0.post(url).send_json(object).map_err(failed)?)
    }
}

fn read(url: &str, mut response: ureq::http::Response<ureq::Body>) -> Result<Value, Error> {
    let status = response.status();
    let failed = |source| Error::NoAnswer {
        url: url.to_owned(),
        source,
    };
    if !status.is_success() {
        let body = response.body_mut().read_to_string().map_err(failed)?;
        return Err(Error::Refused {
            url: url.to_owned(),
            status: status.as_u16(),
            body,
        });
    }
    response.body_mut().read_json().map_err(failed)
}
