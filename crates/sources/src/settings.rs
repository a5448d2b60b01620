//! Settings of a source, as the operator's configuration file spells them.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::Deserialize;

/// An OCI registry.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RegistrySettings {
    /// Base URL, without `/v2`; by default `https://` and the host. Plain HTTP only by an `http://` here.
    pub url: Option<String>,
    /// Basic authentication, for the registry itself or for its token server.
    pub basic_auth: Option<BasicAuth>,
    /// Where the registry may send for a token, when that is another server: `https://auth.docker.io`.
    pub token_server: Option<String>,
    /// File with the PEM certificates of the authorities that the servers' certificates must come from.
    pub ca_file: Option<PathBuf>,
    /// The platform that an image must be for: `linux/amd64` by default, or `linux/arm64/v8`.
    pub platform: Option<String>,
    /// The whole of one request must end within this many milliseconds; 5000 by default.
    pub timeout_milliseconds: Option<u64>,
}

/// What an image runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`.
    pub architecture: String,
    /// `v8`, where it matters.
    pub variant: Option<String>,
}

impl Platform {
    /// `os/architecture` or `os/architecture/variant`.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = |part: &&str| {
            (1..=32).contains(&part.len())
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_'))
        };
        let parts: Vec<&str> = text.split('/').filter(plain).collect();
        let (os, architecture, variant) = match (parts.as_slice(), text.split('/').count()) {
            ([os, architecture], 2) => (os, architecture, None),
            ([os, architecture, variant], 3) => (os, architecture, Some((*variant).to_owned())),
            _ => return None,
        };
        Some(Self {
            os: (*os).to_owned(),
            architecture: (*architecture).to_owned(),
            variant,
        })
    }
}

/// A server that speaks the Prometheus query API: Prometheus, Thanos, Mimir, VictoriaMetrics.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MetricsSource {
    /// Base URL, without `/api/v1`.
    pub url: String,
    /// File with a bearer token; read anew for each request, so that a rotated token is taken up.
    #[serde(default)]
    pub bearer_token_file: Option<PathBuf>,
    /// Basic authentication.
    #[serde(default)]
    pub basic_auth: Option<BasicAuth>,
    /// File with the PEM certificates of the authorities that the server's certificate must come from.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Tenant, sent as `X-Scope-OrgID`.
    #[serde(default)]
    pub tenant: Option<String>,
    /// The whole of one query must end within this many milliseconds.
    #[serde(default = "default_timeout")]
    pub timeout_milliseconds: u64,
    /// Longer answers are refused, bytes.
    #[serde(default = "default_answer_bytes")]
    pub max_answer_bytes: u64,
    /// How long after the instant of a look its query is sent, so that the scrapes before it are stored. Milliseconds.
    #[serde(default = "default_settle")]
    pub settle_milliseconds: u64,
}

/// An MLflow tracking server.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MlflowSource {
    /// Base URL, without `/api`.
    pub url: String,
    /// File with a bearer token; read anew for each request.
    #[serde(default)]
    pub bearer_token_file: Option<PathBuf>,
    /// Basic authentication.
    #[serde(default)]
    pub basic_auth: Option<BasicAuth>,
    /// File with the PEM certificates of the authorities that the server's certificate must come from.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// An answer must begin, and go on after each pause, within this many milliseconds.
    #[serde(default = "default_timeout")]
    pub timeout_milliseconds: u64,
}

/// An object store: S3 and what speaks its API, Google Cloud Storage, Azure Blob Storage, HTTP (`WebDAV`), a folder.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectStoreSettings {
    /// Where it begins: `s3://bucket/path`, `gs://…`, `az://container/path`, `https://…`, `file:///path`.
    pub url: String,
    /// What the store's client takes, by the names of its environment variables: `aws_region`, `aws_endpoint`, …
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// The same, each read from a file when the store is opened: `aws_secret_access_key: /var/run/secrets/s3/key`.
    #[serde(default)]
    pub option_files: BTreeMap<String, PathBuf>,
    /// File with the PEM certificates of the authorities that the server's certificate must come from.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// An answer must begin, and go on after each pause, within this many milliseconds.
    #[serde(default = "default_timeout")]
    pub timeout_milliseconds: u64,
}

/// Basic authentication with a password from a file.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BasicAuth {
    /// The user.
    pub username: String,
    /// File with the password.
    pub password_file: PathBuf,
}

/// How long an answer may take where nothing is said, milliseconds.
pub fn default_timeout() -> u64 {
    5_000
}

fn default_answer_bytes() -> u64 {
    128 << 20
}

fn default_settle() -> u64 {
    1_000
}

impl MetricsSource {
    /// A server at `url`, everything else by default.
    pub fn at(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            bearer_token_file: None,
            basic_auth: None,
            ca_file: None,
            tenant: None,
            timeout_milliseconds: default_timeout(),
            max_answer_bytes: default_answer_bytes(),
            settle_milliseconds: default_settle(),
        }
    }

    /// The deadline of one query.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_milliseconds)
    }

    /// See `settle_milliseconds`.
    pub fn settle(&self) -> Duration {
        Duration::from_millis(self.settle_milliseconds)
    }
}

impl MetricsSource {
    /// Whether it can be used; why not, in words.
    pub fn check(&self) -> Result<(), String> {
        check_server(
            &self.url,
            self.bearer_token_file.is_some() && self.basic_auth.is_some(),
            self.timeout_milliseconds,
        )?;
        if self.settle_milliseconds > 30_000 {
            return Err("settleMilliseconds must be at most 30000".to_owned());
        }
        Ok(())
    }
}

impl MlflowSource {
    /// A server at `url`, everything else by default.
    pub fn at(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            bearer_token_file: None,
            basic_auth: None,
            ca_file: None,
            timeout_milliseconds: default_timeout(),
        }
    }

    /// See `timeout_milliseconds`.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_milliseconds)
    }

    /// Whether it can be used; why not, in words.
    pub fn check(&self) -> Result<(), String> {
        check_server(
            &self.url,
            self.bearer_token_file.is_some() && self.basic_auth.is_some(),
            self.timeout_milliseconds,
        )
    }
}

impl ObjectStoreSettings {
    /// See `timeout_milliseconds`.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_milliseconds)
    }

    /// Whether it can be used; why not, in words.
    pub fn check(&self) -> Result<(), String> {
        let url = parse_url(&self.url)?;
        let known = [
            "s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "http", "https", "file",
        ];
        if !known.contains(&url.scheme()) {
            return Err(format!(
                "url {:?} must begin with one of {}",
                self.url,
                known.join(", ")
            ));
        }
        if let Some(twice) = self.option_files.keys().find(|key| self.options.contains_key(*key)) {
            return Err(format!("{twice} is both in options and in optionFiles"));
        }
        check_timeout(self.timeout_milliseconds)
    }
}

impl RegistrySettings {
    /// The base URL for the registry that image references call `host`.
    pub fn base(&self, host: &str) -> String {
        match (&self.url, host) {
            (Some(url), _) => url.clone(),
            // The name that references use has no registry behind it.
            (None, "docker.io") => "https://registry-1.docker.io".to_owned(),
            (None, host) => format!("https://{host}"),
        }
    }

    /// See `timeout_milliseconds`.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_milliseconds.unwrap_or_else(default_timeout))
    }

    /// Whether it can be used; why not, in words.
    pub fn check(&self, host: &str) -> Result<(), String> {
        if host.is_empty() || host.contains('/') {
            return Err("must be a host, with a port where it has one, as image references name it".to_owned());
        }
        let timeout = self.timeout_milliseconds.unwrap_or_else(default_timeout);
        check_server(&self.base(host), false, timeout)?;
        if let Some(server) = &self.token_server {
            check_server(server, false, timeout).map_err(|problem| format!("tokenServer: {problem}"))?;
        }
        if let Some(platform) = &self.platform {
            Platform::parse(platform)
                .ok_or_else(|| format!("platform {platform:?} must be os/architecture or os/architecture/variant"))?;
        }
        Ok(())
    }
}

/// A URL without credentials; why it is none, in words.
pub fn parse_url(text: &str) -> Result<reqwest::Url, String> {
    let url = reqwest::Url::parse(text).map_err(|error| format!("url {text:?}: {error}"))?;
    if url.password().is_some() {
        return Err("the url must hold no credentials: name a file with them".to_owned());
    }
    Ok(url)
}

/// Whether a server can be asked as its settings say; why not, in words.
pub fn check_server(text: &str, both_credentials: bool, timeout: u64) -> Result<(), String> {
    let url = parse_url(text)?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(format!("url {text:?} must be http:// or https:// with a host"));
    }
    if !url.username().is_empty() {
        return Err("the url must hold no credentials: use basicAuth or bearerTokenFile".to_owned());
    }
    if both_credentials {
        return Err("basicAuth and bearerTokenFile exclude each other".to_owned());
    }
    check_timeout(timeout)
}

/// Whether a timeout makes sense, milliseconds; why not, in words.
pub fn check_timeout(timeout: u64) -> Result<(), String> {
    if (100..=60_000).contains(&timeout) {
        Ok(())
    } else {
        Err("timeoutMilliseconds must lie between 100 and 60000".to_owned())
    }
}
