//! Small HTTP requests: is a server ready, does an object exist, create one.

use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

use crate::certificates::Identity;

/// A server that does not answer within this is asked again.
const TIMEOUT: Duration = Duration::from_secs(5);

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
