//! The operator's own configuration file: what only an administrator may set. A policy names a metrics
//! source; it never holds a URL, a header or a credential.

mod receivers;

use std::collections::BTreeMap;

use serde::Deserialize;

use quality_core::format;
use quality_sources::settings::{MetricsSource, MlflowSource, ObjectStoreSettings, RegistrySettings};

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

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
