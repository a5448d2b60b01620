//! Who is told what, as a policy says it, and what is on record as told.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use quality_core::notification::Kind as NotificationKind;

/// A receiver of the operator's configuration, and what it is told of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Notify {
    /// The receiver's name in the operator's configuration.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub receiver: String,
    /// What it is told of; everything when not said. A receiver that was notified of a matter is also notified of its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 6), extend("x-kubernetes-list-type" = "set"))]
    pub on: Option<Vec<NotificationKind>>,
}

/// One notification that a receiver took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Delivery {
    /// The receiver.
    pub receiver: String,
    /// What it was told.
    pub kind: NotificationKind,
    /// When it took it.
    pub at: Time,
}

/// One notification about the rollback path that a receiver took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RiskDelivery {
    /// The receiver.
    pub receiver: String,
    /// Since when the rollback path was at risk: what tells this stretch from every other one.
    pub began: Time,
    /// When it took it.
    pub at: Time,
}

/// A receiver that the policy names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReceiverStatus {
    /// Its name.
    pub name: String,
    /// Since when the policy names it: what was over before is not told.
    pub since: Time,
    /// Since when it takes no notification; none while it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Time>,
}
