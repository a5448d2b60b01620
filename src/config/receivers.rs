//! Who is told what happens, and how they are reached. A policy names a receiver; only an administrator says where it
//! is. Whatever is secret is a file, read anew for each message.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

use quality_sources::settings::{BasicAuth, check_server, check_timeout, default_timeout, parse_url};

/// What a receiver understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ReceiverType {
    /// Alertmanager's API, version 2.
    Alertmanager,
    /// An incoming webhook of Slack, or of what takes the same (Mattermost, Rocket.Chat).
    Slack,
    /// `CloudEvents` 1.0 over HTTP, structured mode.
    Webhook,
}

/// A receiver of notifications.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReceiverSettings {
    /// What it understands.
    #[serde(rename = "type")]
    pub kind: ReceiverType,
    /// Where it is; an Alertmanager's base URL, without `/api/v2`.
    #[serde(default)]
    pub url: Option<String>,
    /// File with the URL, where the URL itself is the secret.
    #[serde(default)]
    pub url_file: Option<PathBuf>,
    /// File with a bearer token.
    #[serde(default)]
    pub bearer_token_file: Option<PathBuf>,
    /// Basic authentication.
    #[serde(default)]
    pub basic_auth: Option<BasicAuth>,
    /// File with the PEM certificates of the authorities that the server's certificate must come from.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// File with the PEM certificate that the operator shows, and those between it and its authority.
    #[serde(default)]
    pub client_certificate_file: Option<PathBuf>,
    /// File with that certificate's private key, PEM.
    #[serde(default)]
    pub client_key_file: Option<PathBuf>,
    /// The HTTP proxy on the way: `http://proxy.example:3128`. None of the environment is used.
    #[serde(default)]
    pub proxy: Option<String>,
    /// One attempt must end within this many milliseconds.
    #[serde(default = "default_timeout")]
    pub timeout_milliseconds: u64,
}

impl ReceiverSettings {
    /// See `timeout_milliseconds`.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_milliseconds)
    }

    pub(super) fn check(&self, name: &str) -> Result<(), String> {
        if !is_name(name) {
            return Err(
                "a receiver's name has at most 63 lower-case letters, digits and hyphens, as policies name it"
                    .to_owned(),
            );
        }
        let both = self.bearer_token_file.is_some() && self.basic_auth.is_some();
        match (&self.url, &self.url_file, self.kind) {
            (Some(_), Some(_), _) => return Err("url and urlFile exclude each other".to_owned()),
            (None, None, _) => return Err("url or urlFile must say where it is".to_owned()),
            (Some(_), None, ReceiverType::Slack) => {
                return Err("a Slack URL is a secret: put it into a file and name that with urlFile".to_owned());
            }
            (Some(url), None, _) => check_server(url, both, self.timeout_milliseconds)?,
            (None, Some(_), _) if both => {
                return Err("basicAuth and bearerTokenFile exclude each other".to_owned());
            }
            (None, Some(_), _) => check_timeout(self.timeout_milliseconds)?,
        }
        if self.client_certificate_file.is_some() != self.client_key_file.is_some() {
            return Err("clientCertificateFile and clientKeyFile belong together".to_owned());
        }
        if let Some(proxy) = &self.proxy {
            let url = parse_url(proxy).map_err(|problem| format!("proxy: {problem}"))?;
            if !matches!(url.scheme(), "http" | "https") || url.host().is_none() || !url.username().is_empty() {
                return Err("proxy must be http:// or https:// with a host, and no credentials".to_owned());
            }
        }
        Ok(())
    }
}

/// The cluster's name stands in URIs and labels.
pub(super) fn check_cluster(name: &str) -> Result<(), String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
    if name.len() <= 63 && name.bytes().all(plain) {
        Ok(())
    } else {
        Err("must have at most 63 letters, digits, hyphens and dots".to_owned())
    }
}

fn is_name(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, ReceiverType};

    #[test]
    fn a_receiver_needs_its_type_and_where_it_is() {
        let text = "receivers:\n  ops-commander: {type: slack, urlFile: /run/slack}\n  \
                    infra-guardian: {type: alertmanager, url: 'http://alertmanager:9093'}\n";
        let config = Config::parse("c.yaml", text).unwrap();
        assert_eq!(config.receivers["ops-commander"].kind, ReceiverType::Slack);
        assert_eq!(config.receivers["infra-guardian"].timeout().as_secs(), 5);
    }

    #[test]
    fn a_receiver_that_cannot_be_reached_is_refused_by_name_and_reason() {
        for (settings, words) in [
            ("{type: pager, url: 'http://x'}", "unknown variant"),
            ("{url: 'http://x'}", "type"),
            ("{type: webhook}", "url or urlFile must say where it is"),
            (
                "{type: webhook, url: 'http://x', urlFile: /f}",
                "url and urlFile exclude each other",
            ),
            (
                "{type: slack, url: 'https://hooks.slack.com/services/T/B/x'}",
                "a Slack URL is a secret",
            ),
            ("{type: webhook, url: 'ftp://x'}", "must be http"),
            ("{type: webhook, url: 'http://u:p@x'}", "must hold no credentials"),
            (
                "{type: webhook, url: 'http://x', timeoutMilliseconds: 5}",
                "timeoutMilliseconds",
            ),
            (
                "{type: webhook, urlFile: /f, timeoutMilliseconds: 5}",
                "timeoutMilliseconds",
            ),
            (
                "{type: webhook, url: 'http://x', bearerTokenFile: /t, basicAuth: {username: u, passwordFile: /p}}",
                "exclude each other",
            ),
            ("{type: webhook, url: 'http://x', clientKeyFile: /k}", "belong together"),
            (
                "{type: webhook, url: 'http://x', proxy: 'http://u:p@proxy'}",
                "proxy: the url must hold no",
            ),
            (
                "{type: webhook, url: 'http://x', proxy: 'socks5://proxy'}",
                "proxy must be http",
            ),
            ("{type: webhook, url: 'http://x', token: secret}", "token"),
        ] {
            let text = format!("receivers: {{ops-commander: {settings}}}");
            let message = Config::parse("c.yaml", &text).unwrap_err().to_string();
            assert!(
                message.contains("c.yaml") && message.contains(words),
                "{settings}: {message}"
            );
        }
        let message = Config::parse("c.yaml", "clusterName: 'eu/1'").unwrap_err();
        assert!(message.to_string().contains("clusterName"), "{message}");
        let message = Config::parse("c.yaml", "receivers: {'../x': {type: webhook, url: 'http://x'}}").unwrap_err();
        assert!(
            message.to_string().contains("receivers.../x: a receiver's name"),
            "{message}"
        );
    }
}
