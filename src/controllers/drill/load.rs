//! How long pods of the checkpoint took to load, by their conditions. Pure.

use k8s_openapi::api::core::v1::Pod;

/// When pods of the checkpoint became Ready, and how long the slowest one took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MeasuredLoad {
    /// The last one's readiness, unix seconds.
    pub ready: i64,
    /// From scheduled to Ready, seconds.
    pub took: Option<i64>,
}

/// When pods became Ready and how long the slowest took; nothing while one is not Ready or there is none.
pub fn loaded<'a>(pods: impl Iterator<Item = &'a Pod>) -> Option<MeasuredLoad> {
    let mut all: Option<MeasuredLoad> = None;
    for pod in pods {
        let conditions = pod.status.as_ref()?.conditions.as_deref().unwrap_or_default();
        let since = |kind: &str| {
            let mut conditions = conditions.iter();
            let found = conditions.find(|condition| condition.type_ == kind && condition.status == "True")?;
            found.last_transition_time.as_ref().map(|at| at.0.as_second())
        };
        let ready = since("Ready")?;
        let took = since("PodScheduled").map(|scheduled| (ready - scheduled).max(0));
        let before = all.unwrap_or_default();
        all = Some(MeasuredLoad {
            ready: before.ready.max(ready),
            took: before.took.max(took),
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(scheduled: Option<&str>, ready: Option<&str>) -> Pod {
        let condition = |kind: &str, at: Option<&str>| {
            json!({"type": kind, "status": if at.is_some() { "True" } else { "False" },
                "lastTransitionTime": at.unwrap_or("2026-01-01T00:00:00Z")})
        };
        let conditions = [condition("PodScheduled", scheduled), condition("Ready", ready)];
        serde_json::from_value(json!({"metadata": {"name": "x"}, "status": {"conditions": conditions}})).unwrap()
    }

    #[test]
    fn the_load_time_is_that_of_the_slowest_pod_from_scheduled_to_ready() {
        let (fast, slow) = (
            pod(Some("2026-01-01T00:00:10Z"), Some("2026-01-01T00:00:12Z")),
            pod(Some("2026-01-01T00:00:10Z"), Some("2026-01-01T00:00:31Z")),
        );
        let found = loaded([&fast, &slow].into_iter()).unwrap();
        assert_eq!((found.took, found.ready), (Some(21), 1_767_225_631));
        assert_eq!(
            loaded([&fast, &pod(Some("2026-01-01T00:00:10Z"), None)].into_iter()),
            None
        );
        assert_eq!(loaded(std::iter::empty()), None);
        let unscheduled = loaded([&pod(None, Some("2026-01-01T00:00:12Z"))].into_iter());
        assert_eq!(unscheduled.unwrap().took, None);
    }
}
