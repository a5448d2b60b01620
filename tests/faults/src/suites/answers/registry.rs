//! Bad answers of an OCI registry: what was verified stays so with its age, what is truly broken is no rollback target, and
//! no answer alone rolls anything back.

mod answers;
mod images;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use bed::{
    Endpoints, Registry,
    registry::{Access, Image, digest},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use quality_api::RollbackCheckpoint;
use serde_json::json;
use stage::{
    Behaviour, Proxy, StageError,
    proxy::{Act, answer},
    script::rolled_out,
};

use self::{
    answers::{KEPT, answers},
    images::images,
};
use super::{Case, ELSEWHERE, MAX_MEMORY, Says, acted};
use crate::{
    monitor::{Broken, Promise},
    plan::{CONVERGES_WITHIN, Outcome, PLANTED, Plan},
    suites::writes::Scenario,
    world::{Setup, World, bad},
};

/// The plans.
pub fn plans(short: bool) -> Vec<Plan> {
    let cases: Vec<Case> = answers().into_iter().step_by(if short { 8 } else { 1 }).collect();
    let count = cases.len();
    let name = format!("registry: {count} answers about a verified image");
    let answers = Plan::new("answers", name, move |endpoints, namespace| async move {
        verified(&endpoints, &namespace, cases).await
    });
    let none_of_them = images().len();
    let name = format!("registry: {none_of_them} images that are none");
    let images = Plan::new("answers", name, move |endpoints, namespace| async move {
        none(&endpoints, &namespace).await
    });
    vec![answers.counting(count), images.counting(none_of_them)]
}

/// A world whose release is in a registry behind a proxy, and was verified there.
struct Shop {
    world: World,
    registry: Registry,
    proxy: Arc<Proxy>,
    image: Image,
    checkpoint: String,
}

fn reference(digest: &str) -> String {
    format!("registry.example/ranker@{digest}")
}

async fn shop(endpoints: &Endpoints, namespace: &str) -> Result<Shop, StageError> {
    let folder = endpoints.work_folder.join("spaces").join(namespace);
    std::fs::create_dir_all(&folder).map_err(StageError::io(format!("make {}", folder.display())))?;
    let started = tokio::task::spawn_blocking(move || {
        let registry = Registry::start(&folder, Access::Anonymous)?;
        let image = registry.push("ranker", "v1", &[b"the base", b"the model"])?;
        Ok::<_, bed::registry::Error>((registry, image))
    });
    let started = started
        .await
        .map_err(|error| StageError::Unexpected(error.to_string()))?;
    let (registry, image) = started.map_err(|error| StageError::Unexpected(error.to_string()))?;
    let proxy = Arc::new(Proxy::of(&registry.url()).await?);
    let setup = Setup {
        policy: json!({"recovery": {"rpo": "2h"}}),
        more: json!({
            "registries": {"registry.example": {"url": proxy.url(), "timeoutMilliseconds": 1_000}},
            "verification": {"intervalSeconds": 1, "retrySeconds": 1, "rehashSeconds": 3_600},
        }),
        ..Setup::default()
    };
    let world = World::unguarded(endpoints, namespace, setup).await?;
    let name = reference(&image.manifest);
    world.service.behave(&name, Behaviour::HEALTHY);
    world.ship(&name).await?;
    rolled_out(&world.space, "ranker").await?;
    world.space.apply(&world.policy.to_string())?;
    world.registered(&name).await?;
    let all = world.space.all::<RollbackCheckpoint>().await?;
    let found = all.iter().find(|checkpoint| checkpoint.spec.images[0].image == name);
    let checkpoint = found.and_then(|found| found.metadata.name.clone()).unwrap_or_default();
    let shop = Shop {
        world,
        registry,
        proxy,
        image,
        checkpoint,
    };
    shop.shows(&shop.checkpoint, "ImageAvailable", "True", &["Verified"], "")
        .await?;
    Ok(shop)
}

impl Shop {
    async fn conditions(&self, checkpoint: &str) -> Result<Vec<Condition>, StageError> {
        let found = self.world.space.api::<RollbackCheckpoint>().get(checkpoint).await?;
        Ok(found.status.unwrap_or_default().conditions)
    }

    /// Waits until a checkpoint's condition says so.
    async fn shows(
        &self,
        checkpoint: &str,
        kind: &str,
        status: &str,
        reasons: &[&str],
        words: &str,
    ) -> Result<Duration, StageError> {
        let begin = Instant::now();
        loop {
            let conditions = self.conditions(checkpoint).await?;
            let found = conditions.iter().find(|condition| condition.type_ == kind);
            if found.is_some_and(|found| {
                found.status == status && reasons.contains(&found.reason.as_str()) && found.message.contains(words)
            }) {
                return Ok(begin.elapsed());
            }
            if begin.elapsed() > CONVERGES_WITHIN {
                return Err(StageError::Late {
                    what: format!("{kind} of {checkpoint} is {status}, {reasons:?}, {words:?}"),
                    seconds: CONVERGES_WITHIN.as_secs(),
                    seen: format!("{found:?}"),
                });
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Bad answers about an image that was verified: it keeps that state, with its age, unless the registry itself says that
/// something is gone.
async fn verified(endpoints: &Endpoints, namespace: &str, cases: Vec<Case>) -> Result<Outcome, StageError> {
    let mut shop = shop(endpoints, namespace).await?;
    let mut broken = Vec::new();
    for case in &cases {
        let rule = case.rule.clone();
        shop.proxy.rule(move |asked| rule(asked));
        let begin = Instant::now();
        let name = &shop.checkpoint;
        let said = match case.says {
            Says::Unknown(reasons, words) if reasons == KEPT => {
                let first = shop.shows(name, "ImageAvailable", "True", reasons, words).await;
                first.and(shop.shows(name, "Ready", "True", &["Verified"], "").await)
            }
            Says::Unknown(reasons, words) => shop.shows(name, "Ready", "False", reasons, words).await,
            Says::Usable | Says::Anything => shop.shows(name, "ImageAvailable", "True", &["Verified"], "").await,
        };
        let mut tell = |promise, what: String| broken.push(Broken::new(promise, format!("{}: {what}", case.name)));
        if let Err(error) = said {
            tell(Promise::SafeTarget, error.to_string());
        }
        let most = shop.world.first().operator().allocated().unwrap_or_default();
        if most > MAX_MEMORY {
            tell(Promise::Bounded, format!("{} MiB", most >> 20));
        }
        for (promise, what) in acted(&shop.world).await? {
            tell(promise, what);
        }
        if shop.proxy.calls().iter().any(|call| call.path.contains(ELSEWHERE)) {
            tell(Promise::NoEcho, "a redirect was followed".to_owned());
        }
        if shop.world.replicas[0].keep_alive()? {
            tell(Promise::Contained, "the operator ended".to_owned());
        }
        shop.proxy.forget();
        shop.proxy.behave();
        let name = &shop.checkpoint;
        let again = shop.shows(name, "ImageAvailable", "True", &["Verified"], "").await;
        if let Err(error) = again.and(shop.shows(name, "Ready", "True", &["Verified"], "").await) {
            broken.push(Broken::new(Promise::InTime, format!("{}: {error}", case.name)));
        }
        println!(
            "    {}: {:.1} s, {} MiB",
            case.name,
            begin.elapsed().as_secs_f64(),
            most >> 20
        );
    }
    // The release is still the one that runs, and a real breach goes back to the image that was doubted.
    shop.world.ship(&bad()).await?;
    Scenario::Rollback.over(&shop.world).await?;
    let mut outcome = shop.world.judged(Instant::now(), None).await?;
    outcome.broken.extend(broken);
    let (runs, incidents) = (
        shop.world.space.image("ranker").await?,
        shop.world.incidents().await?.len(),
    );
    if (runs.as_str(), incidents) != (reference(&shop.image.manifest).as_str(), 1) {
        outcome.broken.push(Broken::new(
            Promise::SameEnd,
            format!("{incidents} incidents, {runs} runs"),
        ));
    }
    drop(shop.registry);
    Ok(outcome)
}

/// All of them are checkpoints of one Deployment, written by hand; a breach goes back to the one that is whole.
async fn none(endpoints: &Endpoints, namespace: &str) -> Result<Outcome, StageError> {
    let mut shop = shop(endpoints, namespace).await?;
    let all = images();
    let mut kept: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for image in &all {
        for bytes in image.blobs.iter().chain([&image.manifest]) {
            kept.insert(digest(bytes), bytes.clone());
        }
    }
    let known = [
        vec![shop.image.manifest.clone(), shop.image.config.clone()],
        shop.image.layers.clone(),
    ]
    .concat();
    shop.proxy.rule(move |asked| {
        let named = asked.bare_path().rsplit('/').next().unwrap_or_default();
        if known.iter().any(|digest| digest == named) {
            return Act::Forward;
        }
        if let Some(bytes) = kept.get(named) {
            return Act::Answer(answer(StatusCode::OK, bytes.clone()));
        }
        let body = json!({"errors": [{"code": "UNKNOWN", "message": PLANTED}]}).to_string();
        Act::Answer(answer(StatusCode::NOT_FOUND, body))
    });
    let mut broken = Vec::new();
    for (number, image) in all.iter().enumerate() {
        let object = json!({
            "apiVersion": "quality-officer.dev/v1alpha1", "kind": "RollbackCheckpoint", "metadata": {"name": format!("none-{number}")},
            "spec": {"targetRef": {"name": "ranker"}, "images": [{"container": "server", "image": reference(&digest(&image.manifest))}]},
        });
        shop.world.space.apply(&object.to_string())?;
    }
    for (number, image) in all.iter().enumerate() {
        let name = format!("none-{number}");
        let seen = shop
            .shows(&name, "ImageAvailable", "False", &[image.reason], image.words)
            .await;
        // Its digests never ran here: that comes first.
        let ready = shop.shows(&name, "Ready", "False", &["NotVerified"], "").await;
        if let Err(error) = seen.and(ready) {
            broken.push(Broken::new(Promise::SafeTarget, format!("{}: {error}", image.name)));
        }
    }
    for (promise, what) in acted(&shop.world).await? {
        broken.push(Broken::new(promise, what));
    }
    if shop.world.replicas[0].keep_alive()? {
        broken.push(Broken::new(Promise::Contained, "the operator ended"));
    }
    shop.world.ship(&bad()).await?;
    Scenario::Rollback.over(&shop.world).await?;
    let mut outcome = shop.world.judged(Instant::now(), None).await?;
    outcome.broken.extend(broken);
    let runs = shop.world.space.image("ranker").await?;
    if runs != reference(&shop.image.manifest) {
        outcome
            .broken
            .push(Broken::new(Promise::SafeTarget, format!("{runs} runs")));
    }
    drop(shop.registry);
    Ok(outcome)
}
