//! The part of a policy's status that answers a person's request to roll back.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What became of a person's request to roll back; each is answered once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestAnswer {
    /// Which request: a hash of the annotation's value.
    pub id: String,
    /// Whether an incident was opened for it.
    pub accepted: bool,
    /// Why not, or what happens now.
    pub message: String,
    /// The incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<String>,
    /// When it was answered.
    pub at: Time,
}
