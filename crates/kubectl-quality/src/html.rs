//! `kubectl quality report NAME -o html`: the records of one policy, for the page.

use kube::{api::ListParams, core::NamespaceResourceScope};

use super::{Cluster, PluginError};
use quality_api::QualityReport;
use quality_render::html_report::{self, Records};

/// More records of a kind make no page.
const MAX_RECORDS: u32 = 500;

impl Cluster {
    /// The report of a policy as one HTML page.
    pub(super) async fn page(&self, report: QualityReport) -> Result<String, PluginError> {
        let records = Records {
            report,
            incidents: self.of_namespace().await?,
            drills: self.of_namespace().await?,
            checkpoints: self.of_namespace().await?,
        };
        Ok(html_report::page(&records))
    }

    async fn of_namespace<K>(&self) -> Result<Vec<K>, PluginError>
    where
        K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + serde::de::DeserializeOwned
            + std::fmt::Debug,
    {
        let list = self.api::<K>().list(&ListParams::default().limit(MAX_RECORDS)).await;
        Ok(list.map_err(|error| self.failed::<K>("list", "", error))?.items)
    }
}
