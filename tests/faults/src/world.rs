//! One plan's world: a namespace with the scripted service, and one or two operators that reach the API server and
//! Prometheus through proxies of their own.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use bed::Endpoints;
use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use quality_api::{BREAK_GLASS_ANNOTATION, QualityIncident, RollbackCheckpoint, conditions};
use serde_json::{Value, json};
use stage::{Behaviour, Operator, OperatorOptions, Service, Space, StageError, proxy::Proxy, script};

/// An image by a digest of one repeated digit.
pub fn image(digit: char) -> String {
    format!("registry.example/ranker@sha256:{}", digit.to_string().repeat(64))
}

/// The good release's image.
pub fn good() -> String {
    image('a')
}

/// The bad release's image.
pub fn bad() -> String {
    image('b')
}

/// A policy for `ranker` that looks every 2 s, so that a plan is quick, and certifies seldom, so that silence can be heard;
/// with some of its spec changed. The target of throughput lies well under what is asked for: at the very target the report would
/// say something else at each look.
pub fn policy(changes: &Value) -> Value {
    let mut spec = json!({
        "targetRef": {"name": "ranker"},
        "judgement": {"interval": "2s", "warmUp": "0s"},
        "checkpoints": {"registerAfter": "4s"},
        "recovery": {"rpo": "10m"},
        "objectives": {"throughput": {"target": "50/s", "floor": "40/s"}},
        "report": {"review": review(Timestamp::now().as_second())},
    });
    merge(&mut spec, changes);
    json!({"apiVersion": "quality-officer.dev/v1alpha1", "kind": "QualityPolicy", "metadata": {"name": "ranker"}, "spec": spec})
}

/// A period of reviews whose next one is far from now, unix seconds: a review is written whatever happens, and no fault-free run
/// had it.
fn review(now: i64) -> String {
    let rest = |hours: &i64| hours * 3_600 - now.rem_euclid(hours * 3_600);
    let hours = (24..=48).max_by_key(rest).unwrap_or(24);
    format!("{hours}h")
}

fn merge(into: &mut Value, changes: &Value) {
    match (into, changes) {
        (Value::Object(into), Value::Object(changes)) => {
            for (key, value) in changes {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, changes) => *into = changes.clone(),
    }
}

tokio::task_local! {
    /// Another build of the operator, for the plans that run within its scope.
    pub static PROGRAM: PathBuf;
}

/// One operator and what lies between it and its servers.
pub struct Replica {
    /// Between it and the API server.
    pub api: Arc<Proxy>,
    /// Between it and Prometheus.
    pub metrics: Arc<Proxy>,
    operator: Operator,
}

impl Replica {
    /// Starts one in a folder of this name.
    pub async fn start(space: &Space, name: &str, options: OperatorOptions) -> Result<Self, StageError> {
        let authority = space.endpoints.certificate_authority.as_deref();
        let authority = authority.ok_or_else(|| StageError::Unexpected("no control plane of the bed's own".into()))?;
        let api = Arc::new(Proxy::of_tls(&space.endpoints.api_server, authority).await?);
        let metrics = Arc::new(Proxy::of(&space.endpoints.prometheus).await?);
        let options = OperatorOptions {
            api_server: Some(api.url()),
            prometheus: metrics.url(),
            program: PROGRAM.try_with(Clone::clone).ok(),
            ..options
        };
        let folder = space.folder().join(name);
        let operator = tokio::task::block_in_place(|| Operator::start(&space.endpoints, &folder, options))?;
        Ok(Self { api, metrics, operator })
    }

    /// Its process and its endpoints.
    pub fn operator(&self) -> &Operator {
        &self.operator
    }

    /// Kills it, and nobody starts it again.
    pub fn kill(&mut self) {
        self.operator.kill();
        self.api.next_life();
    }

    /// Kills it and starts it again, as the kubelet would.
    pub fn restart(&mut self) -> Result<(), StageError> {
        self.operator.kill();
        self.api.next_life();
        tokio::task::block_in_place(|| self.operator.restart())
    }

    /// Kills it and starts it again without waiting until it is ready.
    pub fn restart_unready(&mut self) -> Result<(), StageError> {
        self.operator.kill();
        self.api.next_life();
        self.operator.launch()
    }

    /// Starts it again where it ended by itself, as the kubelet would; whether it had.
    pub fn keep_alive(&mut self) -> Result<bool, StageError> {
        let ended = !self.operator.is_running();
        if ended {
            self.restart_unready()?;
        }
        Ok(ended)
    }
}

/// A namespace for a plan. Many plans wait at a time: each looks less often than a test by itself.
pub async fn space(endpoints: &Endpoints, name: &str) -> Result<Space, StageError> {
    Ok(Space {
        pause: Duration::from_millis(400),
        ..Space::new(endpoints, name).await?
    })
}

/// How a world is set up.
pub struct Setup {
    /// How many operators, by election where they are more than one.
    pub replicas: usize,
    /// By election even where it is one.
    pub elected: bool,
    /// What the policy has beside the usual.
    pub policy: Value,
    /// More of the operators' configuration.
    pub more: Value,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            replicas: 1,
            elected: false,
            policy: json!({}),
            more: json!({}),
        }
    }
}

/// One plan's world.
pub struct World {
    /// The namespace.
    pub space: Space,
    /// What the pods' metrics say.
    pub service: Service,
    /// The operators.
    pub replicas: Vec<Replica>,
    /// What is guarded, and how.
    pub policy: Value,
}

impl World {
    /// The good release runs, and operators watch; there is no policy yet.
    pub async fn unguarded(endpoints: &Endpoints, name: &str, setup: Setup) -> Result<Self, StageError> {
        let space = space(endpoints, name).await?;
        let mut service = Service::start(space.endpoints.prometheus_targets.clone()).await?;
        service.behave(&good(), Behaviour::HEALTHY);
        service.behave(&bad(), Behaviour::FAILING);
        service.follow(space.client.clone(), &space.namespace);
        script::deploy(&space, &good()).await?;
        script::rolled_out(&space, "ranker").await?;
        let mut replicas = Vec::new();
        for number in 0..setup.replicas {
            let options = OperatorOptions {
                leader_elect: setup.elected || setup.replicas > 1,
                more: setup.more.clone(),
                ..OperatorOptions::for_namespace(name, &space.endpoints.prometheus)
            };
            replicas.push(Replica::start(&space, &format!("operator-{number}"), options).await?);
        }
        Ok(Self {
            space,
            service,
            replicas,
            policy: policy(&setup.policy),
        })
    }

    /// The policy is applied, and the release that runs was registered.
    pub async fn guard(&self) -> Result<(), StageError> {
        self.space.apply(&self.policy.to_string())?;
        self.registered(&good()).await
    }

    /// A world whose release is registered and judged, and has been so for long enough that nothing is written.
    pub async fn guarded(endpoints: &Endpoints, name: &str, setup: Setup) -> Result<Self, StageError> {
        let world = Self::unguarded(endpoints, name, setup).await?;
        world.guard().await?;
        Ok(world)
    }

    /// Waits until a Ready checkpoint has this image and the policy says that all is well.
    pub async fn registered(&self, image: &str) -> Result<(), StageError> {
        let has = |checkpoint: &RollbackCheckpoint| {
            let images = &checkpoint.spec.images;
            let ready = checkpoint.status.as_ref();
            images.iter().any(|pinned| pinned.image == image)
                && ready.is_some_and(|status| conditions::is_true(&status.conditions, "Ready"))
        };
        let within = Duration::from_secs(120);
        let what = "the release is registered";
        self.space
            .wait_all(what, within, |all: &[RollbackCheckpoint]| all.iter().any(has))
            .await?;
        self.objectives_met().await
    }

    /// Waits until the policy says that all is well.
    pub async fn objectives_met(&self) -> Result<(), StageError> {
        let what = "the policy says that its objectives are met";
        let met = |policy: &quality_api::QualityPolicy| {
            let status = policy.status.as_ref();
            status.is_some_and(|status| conditions::is_true(&status.conditions, "SLOsMet"))
        };
        let within = Duration::from_secs(120);
        self.space.wait(what, "ranker", within, met).await.map(drop)
    }

    /// Waits until `happened`, for so long at most; keeps operators alive as the kubelet would. Whether it happened.
    pub async fn until(&mut self, within: Duration, happened: impl Fn(&Self) -> bool) -> Result<bool, StageError> {
        let begin = Instant::now();
        loop {
            if happened(self) {
                return Ok(true);
            }
            if begin.elapsed() > within {
                return Ok(false);
            }
            for replica in &mut self.replicas {
                replica.keep_alive()?;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Lets time pass; keeps operators alive as the kubelet would.
    pub async fn pass(&mut self, time: Duration) -> Result<(), StageError> {
        self.until(time, |_| false).await.map(drop)
    }

    /// The first operator, or the only one.
    pub fn first(&self) -> &Replica {
        &self.replicas[0]
    }

    /// Ships an image, as `kubectl set image` does.
    pub async fn ship(&self, image: &str) -> Result<(), StageError> {
        self.space.set_image("ranker", "server", image).await
    }

    /// Ships an image past a gate that may be closed, with the right to do so; until it is taken.
    pub async fn ship_past_the_gate(&self, image: &str) -> Result<(), StageError> {
        let patch = json!({
            "metadata": {"annotations": {BREAK_GLASS_ANNOTATION: "a plan ships it"}},
            "spec": {"template": {"spec": {"containers": [{"name": "server", "image": image}]}}},
        });
        let deployments = self.space.api::<k8s_openapi::api::apps::v1::Deployment>();
        let begin = Instant::now();
        loop {
            let sent = deployments
                .patch("ranker", &PatchParams::default(), &Patch::Strategic(&patch))
                .await;
            match sent {
                Ok(_) => return Ok(()),
                Err(error) if begin.elapsed() > Duration::from_secs(20) => return Err(error.into()),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// All incidents, oldest first.
    pub async fn incidents(&self) -> Result<Vec<QualityIncident>, StageError> {
        let mut all = self.space.all::<QualityIncident>().await?;
        all.sort_by_key(|incident| incident.metadata.creation_timestamp.as_ref().map(|at| at.0));
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_review_is_near_whenever_a_policy_is_written() {
        let begin = 1_796_000_400;
        for now in (begin..begin + 5 * 366 * 86_400).step_by(600) {
            let period: i64 = review(now).trim_end_matches('h').parse().unwrap();
            assert!((24..=48).contains(&period));
            let rest = period * 3_600 - now % (period * 3_600);
            assert!(rest > 12 * 3_600, "at {now} one of {period} h is due in {rest} s");
        }
    }
}
