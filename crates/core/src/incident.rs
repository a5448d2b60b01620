//! What an incident is about and how far it has come: words that the API, the planner and the report share.

use serde::{Deserialize, Serialize};

/// What can give an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Trigger {
    /// The share of failed requests.
    ErrorRate,
    /// The latency quantile.
    Latency,
    /// Requests per second.
    Throughput,
    /// Compliance of the model's answers, by evaluation evidence.
    Compliance,
    /// GPU utilisation.
    GpuUtilization,
    /// GPU memory.
    GpuMemory,
    /// No usable metric while pods run.
    NoMetrics,
    /// A person, who asked for a rollback.
    Requested,
}

impl Trigger {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::ErrorRate,
        Self::Latency,
        Self::Throughput,
        Self::Compliance,
        Self::GpuUtilization,
        Self::GpuMemory,
        Self::NoMetrics,
        Self::Requested,
    ];

    /// Its name, as the API spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ErrorRate => "ErrorRate",
            Self::Latency => "Latency",
            Self::Throughput => "Throughput",
            Self::Compliance => "Compliance",
            Self::GpuUtilization => "GpuUtilization",
            Self::GpuMemory => "GpuMemory",
            Self::NoMetrics => "NoMetrics",
            Self::Requested => "Requested",
        }
    }

    /// In the words of a sentence.
    pub fn words(self) -> &'static str {
        match self {
            Self::ErrorRate => "error rate",
            Self::Latency => "latency",
            Self::Throughput => "throughput",
            Self::Compliance => "Compliance@1",
            Self::GpuUtilization => "GPU utilization",
            Self::GpuMemory => "GPU memory",
            Self::NoMetrics => "no usable metrics",
            Self::Requested => "a person's request",
        }
    }

    /// Whether it never asks for more than an alert. What serves may be like that by design (a server that takes 90 % of
    /// the GPU's memory), so it says nothing against a release.
    pub fn only_alerts(self) -> bool {
        matches!(self, Self::GpuUtilization | Self::GpuMemory)
    }
}

/// What a breach asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Severity {
    /// A rollback.
    Rollback,
    /// An alert, with the rollback prepared.
    Alert,
}

/// Where an incident stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum IncidentState {
    /// The intent is recorded; nothing was changed yet.
    #[default]
    Open,
    /// Mode `Observe`: nothing will be changed.
    Observed,
    /// A rollback is ready and waits for a person's approval.
    AwaitingApproval,
    /// There is no verified checkpoint to roll back to.
    NoSafeTarget,
    /// A rollback of this Deployment happened within the cooldown: a person must decide.
    Halted,
    /// The API server refuses the rollback's write. It is tried again, at least each minute.
    Refused,
    /// The Deployment was changed; the checkpoint's pods come up.
    RollingBack,
    /// The checkpoint runs; its SLOs are being judged.
    Verifying,
    /// The checkpoint runs and every trigger that rolls back is healthy.
    Recovered,
    /// The checkpoint breaches too: the cause lies elsewhere.
    Ineffective,
    /// A person's newer change came first; it is left alone.
    Superseded,
    /// The breach ended without a rollback.
    Resolved,
}

impl IncidentState {
    /// Whether nothing more will happen.
    pub fn is_closed(self) -> bool {
        matches!(self, Self::Recovered | Self::Superseded | Self::Resolved)
    }

    /// Its name, as the API spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "Open",
            Self::Observed => "Observed",
            Self::AwaitingApproval => "AwaitingApproval",
            Self::NoSafeTarget => "NoSafeTarget",
            Self::Halted => "Halted",
            Self::Refused => "Refused",
            Self::RollingBack => "RollingBack",
            Self::Verifying => "Verifying",
            Self::Recovered => "Recovered",
            Self::Ineffective => "Ineffective",
            Self::Superseded => "Superseded",
            Self::Resolved => "Resolved",
        }
    }
}

/// One container's image, pinned by digest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ContainerImage {
    /// The container's name in the pod template.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub container: String,
    /// The image, pinned by digest: `registry.example/ranker@sha256:…`. A tag can move, so it is refused.
    #[schemars(
            length(min = 1, max = 512),
            extend("x-kubernetes-validations" = [{
                "rule": "self.matches('^[a-zA-Z0-9][a-zA-Z0-9._:/-]*@sha256:[a-f0-9]{64}$')",
                "message": "a checkpoint's image must be pinned by digest, like registry.example/ranker@sha256:…; a tag can move"
            }])
        )]
    pub image: String,
}

impl ContainerImage {
    /// The digest, or nothing when the image is not pinned by a whole sha256 digest.
    pub fn digest(&self) -> Option<&str> {
        digest(&self.image)
    }
}

/// The sha256 digest that an image reference is pinned by.
pub fn digest(image: &str) -> Option<&str> {
    let (_, digest) = image.rsplit_once('@')?;
    let hex = digest.strip_prefix("sha256:")?;
    (hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))).then_some(digest)
}

/// One container's image before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageChange<'a> {
    /// The container's name.
    pub container: &'a str,
    /// Its image before.
    pub from: &'a str,
    /// Its image after.
    pub to: &'a str,
}

/// The containers (name and image, in the pod template's order) that get another image by `to`, paired by their names
/// and never by their places in a list. The same digest under another name is the same image.
pub fn image_changes<'a>(
    from: impl IntoIterator<Item = (&'a str, &'a str)>,
    to: &'a [ContainerImage],
) -> Vec<ImageChange<'a>> {
    let change = |(container, from): (&'a str, &'a str)| {
        let to = to.iter().find(|to| to.container == container)?;
        let same = to.image == from || to.digest().is_some() && to.digest() == digest(from);
        (!same).then_some(ImageChange {
            container,
            from,
            to: &to.image,
        })
    };
    from.into_iter().filter_map(change).collect()
}

/// A short form for columns and sentences: `sha256:9be1…`, or the reference itself when it has no digest.
pub fn short(image: &str) -> String {
    digest(image).map_or_else(|| image.to_owned(), |digest| format!("{}…", &digest[..11]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_paired_by_container_in_the_templates_order_and_a_digest_tells_which_are_the_same() {
        let digest = |digit: char| format!("sha256:{}", digit.to_string().repeat(64));
        let image = |container: &str, digit| ContainerImage {
            container: container.to_owned(),
            image: format!("repo/{container}@{}", digest(digit)),
        };
        // As a checkpoint is stored: by name.
        let to = [image("adapter", 'a'), image("model", 'b'), image("zipkin", 'c')];
        let mirrored = format!("mirror/model@{}", digest('b'));
        let from = [
            ("zipkin", "repo/zipkin:v2"),
            ("model", mirrored.as_str()),
            ("other", "x:1"),
            ("adapter", "a:2"),
        ];
        let changes = image_changes(from, &to);
        let told: Vec<(&str, &str, &str)> = changes.iter().map(|c| (c.container, c.from, c.to)).collect();
        assert_eq!(
            told,
            [
                ("zipkin", "repo/zipkin:v2", to[2].image.as_str()),
                ("adapter", "a:2", to[0].image.as_str()),
            ]
        );
    }
}
