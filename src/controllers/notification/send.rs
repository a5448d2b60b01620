//! One message to one receiver, in the form that it takes.

use std::time::Duration;

use reqwest::{Client, Url};
use serde_json::Value;

use crate::config::{ReceiverSettings, ReceiverType};
use quality_core::notification::{message::Message, payload};
use quality_sources::http::{self, Access, Answered, HttpError, TimeoutPolicy, Transport};

/// Why a message was not taken. Holds nothing that the receiver sent, and no URL.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No usable answer.
    #[error("{0}")]
    Http(#[from] HttpError),
    /// The URL's file cannot be read.
    #[error("has a urlFile that cannot be read: {0}")]
    UrlFile(std::io::Error),
    /// The URL's file holds none.
    #[error("has a urlFile that holds no http:// or https:// URL")]
    Url,
    /// It answered with another status than 2xx.
    #[error("answered with status {}", .0.status)]
    Refused(Answered),
}

impl SendError {
    /// A stable word for the operator's own metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Http(error) => error.category(),
            Self::UrlFile(_) => "credential",
            Self::Url => "setup",
            Self::Refused(_) => "status",
        }
    }

    /// The receiver works, and does not take this message.
    pub fn is_about_the_message(&self) -> bool {
        matches!(
            self,
            Self::Refused(Answered {
                status: 400 | 413 | 422,
                ..
            })
        )
    }

    /// How long the receiver asks us to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(answered) => answered.retry_after,
            Self::Http(_) | Self::UrlFile(_) | Self::Url => None,
        }
    }
}

/// Sends to one receiver. Its client is made when it is first needed, and anew after a failure: certificates are renewed
/// as files.
pub struct Sender {
    name: String,
    settings: ReceiverSettings,
    access: Access,
    client: Option<Client>,
}

impl Sender {
    /// For the receiver of this name.
    pub fn new(name: &str, settings: &ReceiverSettings) -> Self {
        Self {
            name: name.to_owned(),
            access: Access {
                bearer_token_file: settings.bearer_token_file.clone(),
                basic_auth: settings.basic_auth.clone(),
                tenant: None,
            },
            settings: settings.clone(),
            client: None,
        }
    }

    /// Sends one message, or renews several alerts at once. `now` is in unix seconds.
    pub async fn send(&mut self, messages: &[Message], now: i64) -> Result<(), SendError> {
        let sent = self.attempt(messages, now).await;
        if sent.is_err() {
            self.client = None;
        }
        sent
    }

    async fn attempt(&mut self, messages: &[Message], now: i64) -> Result<(), SendError> {
        let client = match &self.client {
            Some(client) => client.clone(),
            None => self.connect()?,
        };
        self.client = Some(client.clone());
        let mut url = self.url().await?;
        let json = "application/json";
        let all = match self.settings.kind {
            ReceiverType::Alertmanager => {
                url.path_segments_mut()
                    .map_err(|()| SendError::Url)?
                    .pop_if_empty()
                    .extend(["api", "v2", "alerts"]);
                let alerts = messages
                    .iter()
                    .flat_map(|message| payload::alerts(message, &self.name, now));
                vec![(json, Value::Array(alerts.collect()))]
            }
            ReceiverType::Slack => messages.iter().map(|message| (json, payload::slack(message))).collect(),
            ReceiverType::Webhook => messages
                .iter()
                .map(|message| {
                    (
                        "application/cloudevents+json; charset=utf-8",
                        payload::cloud_event(message),
                    )
                })
                .collect(),
        };
        for (content_type, body) in all {
            let answered = http::post(&client, url.clone(), &self.access, content_type, body.to_string()).await?;
            if !(200..300).contains(&answered.status) {
                return Err(SendError::Refused(answered));
            }
        }
        Ok(())
    }

    fn connect(&self) -> Result<Client, HttpError> {
        let settings = &self.settings;
        let way = Transport {
            ca_file: settings.ca_file.as_ref(),
            identity: settings
                .client_certificate_file
                .as_ref()
                .zip(settings.client_key_file.as_ref()),
            proxy: settings.proxy.as_deref(),
        };
        http::client_on(TimeoutPolicy::Whole(settings.timeout()), way)
    }

    async fn url(&self) -> Result<Url, SendError> {
        let text = match (&self.settings.url, &self.settings.url_file) {
            (_, Some(path)) => tokio::fs::read_to_string(path).await.map_err(SendError::UrlFile)?,
            (Some(url), None) => url.clone(),
            (None, None) => return Err(SendError::Url),
        };
        let url = Url::parse(text.trim()).map_err(|_| SendError::Url)?;
        if matches!(url.scheme(), "http" | "https") {
            Ok(url)
        } else {
            Err(SendError::Url)
        }
    }
}
