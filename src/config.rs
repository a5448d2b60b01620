//! The operator's own configuration file: what only an administrator may set. A policy names a metrics
//! source; it never holds a URL, a header or a credential.

mod receivers;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::Deserialize;

use crate::core::format;

pub use receivers::{ReceiverSettings, ReceiverType};

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("the configuration {path} is not valid: {message}")]
    Parse {
        /// The file.
        path: String,
        /// Where and why.
        message: String,
    },
    /// A value makes no sense.
    #[error("the configuration {path} is not valid: {field}: {message}")]
    Value {
        /// The file.
        path: String,
        /// The field.
        field: String,
        /// Why.
        message: String,
    },
}

/// The operator's configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// Metrics sources by name; policies use `default` when they name none.
    pub metrics_sources: BTreeMap<String, MetricsSource>,
    /// MLflow tracking servers by name, for `evidence.mlflow` of a policy.
    pub mlflow_sources: BTreeMap<String, MlflowSource>,
    /// Object stores by name, for `evidence.store` of a policy; and for runs whose artifacts MLflow keeps there.
    pub object_stores: BTreeMap<String, ObjectStoreSettings>,
    /// OCI registries by the host that image references name (`docker.io` where they name none). A registry that is
    /// not listed is not asked.
    pub registries: BTreeMap<String, RegistrySettings>,
    /// How often checkpoints are verified.
    pub verification: Verification,
    /// Who is told what happens, by the names that policies use.
    pub receivers: BTreeMap<String, ReceiverSettings>,
    /// What notifications call this cluster, for receivers that hear of several.
    pub cluster_name: String,
    /// The reports as pages over HTTP; off where it is not given.
    pub report_page: Option<ReportPage>,
}

/// Where the reports are served as pages: who reaches this address reads every report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReportPage {
    /// Address and port: `127.0.0.1:8090`, `0.0.0.0:8090`.
    pub listen: std::net::SocketAddr,
}

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

/// How often checkpoints are verified, seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Verification {
    /// Images are looked up, and artifacts' existence and size, this often.
    pub interval_seconds: u64,
    /// After a registry or store gave no usable answer it is asked again after this time.
    pub retry_seconds: u64,
    /// The bytes of artifacts are read and hashed again after this time.
    pub rehash_seconds: u64,
}

impl Default for Verification {
    fn default() -> Self {
        Self {
            interval_seconds: 600,
            retry_seconds: 60,
            rehash_seconds: 86_400,
        }
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

fn default_timeout() -> u64 {
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

impl Config {
    /// Reads and checks a configuration file.
    pub fn read(path: &std::path::Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: name.clone(),
            source,
        })?;
        Self::parse(&name, &text)
    }

    /// Checks the text of a configuration file; `path` is for the message.
    pub fn parse(path: &str, text: &str) -> Result<Self, ConfigError> {
        // The message is one line of a log; a piece of the file in it could be a piece of a secret.
        let options = serde_saphyr::options! { with_snippet: false };
        let config: Self = serde_saphyr::from_str_with_options(text, options).map_err(|error| ConfigError::Parse {
            path: path.to_owned(),
            message: format::plain(&error.to_string(), 300),
        })?;
        let field = |checked: Result<(), String>, list: &str, name: &str| {
            checked.map_err(|message| ConfigError::Value {
                path: path.to_owned(),
                field: format!("{list}.{}", format::plain(name, 100)),
                message: format::plain(&message, 300),
            })
        };
        for (name, source) in &config.metrics_sources {
            field(source.check(), "metricsSources", name)?;
        }
        for (name, source) in &config.mlflow_sources {
            field(source.check(), "mlflowSources", name)?;
        }
        for (name, store) in &config.object_stores {
            field(store.check(), "objectStores", name)?;
        }
        for (name, registry) in &config.registries {
            field(registry.check(name), "registries", name)?;
        }
        field(
            receivers::check_cluster(&config.cluster_name),
            "clusterName",
            &config.cluster_name,
        )?;
        for (name, receiver) in &config.receivers {
            field(receiver.check(name), "receivers", name)?;
        }
        config.verification.check().map_err(|message| ConfigError::Value {
            path: path.to_owned(),
            field: "verification".to_owned(),
            message,
        })?;
        Ok(config)
    }
}

impl MetricsSource {
    fn check(&self) -> Result<(), String> {
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

    fn check(&self) -> Result<(), String> {
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

    fn check(&self) -> Result<(), String> {
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

    fn check(&self, host: &str) -> Result<(), String> {
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

impl Verification {
    fn check(self) -> Result<(), String> {
        let all = [self.interval_seconds, self.retry_seconds, self.rehash_seconds];
        if all.iter().all(|seconds| (1..=30 * 86_400).contains(seconds)) {
            Ok(())
        } else {
            Err("seconds must lie between 1 and 2592000".to_owned())
        }
    }
}

fn parse_url(text: &str) -> Result<reqwest::Url, String> {
    let url = reqwest::Url::parse(text).map_err(|error| format!("url {text:?}: {error}"))?;
    if url.password().is_some() {
        return Err("the url must hold no credentials: name a file with them".to_owned());
    }
    Ok(url)
}

fn check_server(text: &str, both_credentials: bool, timeout: u64) -> Result<(), String> {
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

fn check_timeout(timeout: u64) -> Result<(), String> {
    if (100..=60_000).contains(&timeout) {
        Ok(())
    } else {
        Err("timeoutMilliseconds must lie between 100 and 60000".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_needs_only_its_url() {
        let config = Config::parse(
            "c.yaml",
            "metricsSources:\n  default: {url: 'http://prometheus:9090'}\n",
        )
        .unwrap();
        assert_eq!(config.metrics_sources["default"].timeout(), Duration::from_secs(5));
    }

    #[test]
    fn a_message_is_one_short_line_whatever_the_file_holds() {
        let name = format!("x\u{202e}{}", "y".repeat(5_000));
        for text in [
            "metricsSources: null\nmlflowSources: {}\n".to_owned(),
            format!("{name}: 1"),
            format!("metricsSources: {{\"{name}\\n\": {{url: 'ftp://x'}}}}"),
            format!("metricsSources: {{d: {{url: '{name}'}}}}"),
        ] {
            let message = Config::parse("c.yaml", &text).unwrap_err().to_string();
            assert!(message.chars().count() < 600, "{message}");
            assert!(!message.contains(['\n', '\u{202e}']), "{message}");
        }
    }

    #[test]
    fn an_unusable_configuration_names_the_file_and_the_field() {
        for (text, words) in [
            (
                "metricsSources: {default: {url: 'ftp://x'}}",
                "metricsSources.default: url \"ftp://x\" must be http",
            ),
            (
                "metricsSources: {default: {url: 'http://u:p@x'}}",
                "must hold no credentials",
            ),
            ("metricsSources: {default: {uri: 'http://x'}}", "uri"),
            ("metricSources: {}", "metricSources"),
            (
                "mlflowSources: {default: {url: 'mlflow:5000'}}",
                "mlflowSources.default",
            ),
            (
                "objectStores: {models: {url: 'ftp://x'}}",
                "objectStores.models: url \"ftp://x\" must begin with",
            ),
            (
                "objectStores: {m: {url: 's3://b', options: {aws_region: a}, optionFiles: {aws_region: /f}}}",
                "aws_region is both",
            ),
            (
                "registries: {registry.example: {url: 'registry.example'}}",
                "registries.registry.example",
            ),
            ("registries: {r.example/team: {}}", "must be a host"),
            (
                "registries: {r.example: {platform: amd64}}",
                "platform \"amd64\" must be",
            ),
            ("registries: {r.example: {tokenServer: 'ftp://x'}}", "tokenServer: url"),
            ("reportPage: {listen: 'here'}", "invalid socket address"),
            ("reportPage: {}", "listen"),
            ("verification: {intervalSeconds: 0}", "verification: seconds must lie"),
            (
                "metricsSources: {d: {url: 'http://x', timeoutMilliseconds: 5}}",
                "timeoutMilliseconds",
            ),
        ] {
            let message = Config::parse("c.yaml", text).unwrap_err().to_string();
            assert!(message.contains("c.yaml") && message.contains(words), "{message}");
        }
    }
}
