//! What the operator's own metrics say of each policy, from the caches. Pure but for the caches.

use std::collections::{BTreeMap, HashMap};

use kube::{ResourceExt, runtime::reflector::ObjectRef};

use crate::{
    controllers::context::Stores,
    metrics::{Looked, PolicyFigures},
};
use quality_api::QualityPolicy;
use quality_core::{report::READY, slo::Health};

/// One entry a policy.
pub fn figures(stores: &Stores, looked: &Looked) -> Vec<PolicyFigures> {
    let mut incidents: HashMap<String, BTreeMap<&'static str, i64>> = HashMap::new();
    for incident in stores.incidents.state() {
        let Ok(incident) = &incident.0 else { continue };
        let state = incident.status.as_ref().map(|status| status.state).unwrap_or_default();
        let states = incidents.entry(incident.spec.policy.uid.clone()).or_default();
        *states.entry(state.name()).or_default() += 1;
    }
    let policies = stores.policies.state();
    policies
        .iter()
        .filter_map(|policy| policy.0.as_ref().ok())
        .map(|policy| {
            let uid = policy.uid().unwrap_or_default();
            let status = policy.status.as_ref();
            PolicyFigures {
                namespace: policy.namespace().unwrap_or_default(),
                policy: policy.name_any(),
                verdict: verdict(status.map_or("", |status| status.verdict.as_str())).to_owned(),
                slos_passing: slos_passing(stores, policy),
                rollback_ready: status.is_some_and(|status| status.rollback == READY),
                evaluated: looked.of(&uid),
                incidents: incidents.remove(&uid).unwrap_or_default().into_iter().collect(),
            }
        })
        .collect()
}

/// A closed set of words, whatever stands in a status.
fn verdict(text: &str) -> &'static str {
    [Health::Healthy, Health::Caution, Health::Breach]
        .into_iter()
        .map(Health::name)
        .find(|name| *name == text)
        .unwrap_or("NOT JUDGED")
}

/// From the report's `5/6`.
fn slos_passing(stores: &Stores, policy: &QualityPolicy) -> Option<i64> {
    let reference = ObjectRef::new(&policy.name_any()).within(&policy.namespace().unwrap_or_default());
    let report = stores.reports.get(&reference)?;
    let status = report.0.as_ref().ok()?.status.as_ref()?;
    status.slos.split_once('/')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_one_of_four_words() {
        assert_eq!(verdict("BREACH"), "BREACH");
        assert_eq!(verdict(""), "NOT JUDGED");
        assert_eq!(verdict("anything \"else\""), "NOT JUDGED");
    }
}
