//! Bad answers of an OCI registry: what was verified stays so with its age, what is truly broken is not gone back to, and
//! no answer alone rolls anything back.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    http::{HeaderValue, Method, StatusCode, header},
};
use bed::{
    Endpoints, Registry,
    registry::{Access, INDEX, Image, MANIFEST, digest},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use quality_officer::api::RollbackCheckpoint;
use serde_json::{Value, json};
use stage::{
    Behaviour, Proxy, StageError,
    proxy::{Act, Asked, answer, endless},
    script::rolled_out,
};

use super::{Case, ELSEWHERE, MOST_MEMORY, Says, acted};
use crate::{
    monitor::{Broken, Promise},
    plan::{CONVERGES_WITHIN, Outcome, PLANTED, Plan},
    suites::writes::Scenario,
    world::{Setup, World, bad},
};

static CHUNK: [u8; 65_536] = [b' '; 65_536];
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

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
        if most > MOST_MEMORY {
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

const KEPT: &[&str] = &["LastVerified"];

const fn kept(words: &'static str) -> Says {
    Says::Unknown(KEPT, words)
}

/// Answers about an image that is whole.
fn answers() -> Vec<Case> {
    let nonsense = kept("gave an answer that is not one of a registry");
    let mut cases = Vec::new();
    for (code, words) in [
        (400, "with status 400"),
        (401, "denies access"),
        (403, "denies access"),
        (429, "with status 429"),
        (500, "with status 500"),
        (502, "with status 502"),
        (503, "with status 503"),
        (504, "with status 504"),
        (204, "with status 204"),
    ] {
        cases.push(Case::new(format!("status {code}"), kept(words), move |_| {
            let body = json!({"errors": [{"code": "UNAVAILABLE", "message": PLANTED}]}).to_string();
            Act::Answer(answer(StatusCode::from_u16(code).unwrap_or_default(), body))
        }));
    }
    let manifests = |act: fn() -> Act| {
        move |asked: &Asked| {
            if asked.path.contains("/manifests/") {
                act()
            } else {
                Act::Forward
            }
        }
    };
    let blobs = |act: fn() -> Act| {
        move |asked: &Asked| {
            if asked.path.contains("/blobs/") {
                act()
            } else {
                Act::Forward
            }
        }
    };
    let text = |code: StatusCode, body: &'static str| Act::Answer(answer(code, body));
    cases.extend([
        Case::new("a page", nonsense, move |_| {
            text(StatusCode::OK, "<html>planted-7e1f</html>")
        }),
        Case::new("a page with 404", nonsense, move |_| {
            text(StatusCode::NOT_FOUND, "<html>planted-7e1f</html>")
        }),
        Case::new("an empty 404", nonsense, move |_| text(StatusCode::NOT_FOUND, "")),
        Case::new("404 with an empty list of errors", nonsense, move |_| {
            text(StatusCode::NOT_FOUND, "{\"errors\":[]}")
        }),
        Case::new("an empty body", nonsense, move |_| text(StatusCode::OK, "")),
        Case::new("null", nonsense, move |_| text(StatusCode::OK, "null")),
        Case::new(
            "a manifest redirected",
            kept("with status 307"),
            manifests(|| {
                let mut redirect = answer(StatusCode::TEMPORARY_REDIRECT, Body::empty());
                redirect
                    .headers_mut()
                    .insert(header::LOCATION, HeaderValue::from_static(ELSEWHERE));
                Act::Answer(redirect)
            }),
        ),
        Case::new("layers kept elsewhere", Says::Usable, |asked| {
            if !asked.path.contains("/blobs/") {
                return Act::Forward;
            }
            let mut redirect = answer(StatusCode::TEMPORARY_REDIRECT, Body::empty());
            redirect
                .headers_mut()
                .insert(header::LOCATION, HeaderValue::from_static(ELSEWHERE));
            Act::Answer(redirect)
        }),
        Case::new(
            "half of the manifest",
            nonsense,
            manifests(|| {
                Act::Change(|mut body| {
                    body.truncate(body.len() / 2);
                    body
                })
            }),
        ),
        Case::new(
            "a manifest with one byte more",
            nonsense,
            manifests(|| {
                Act::Change(|mut body| {
                    body.push(b' ');
                    body
                })
            }),
        ),
        Case::new(
            "another manifest than was asked for",
            nonsense,
            manifests(|| {
                Act::Answer(answer(
                    StatusCode::OK,
                    json!({"schemaVersion": 2, "annotations": {"x": PLANTED}}).to_string(),
                ))
            }),
        ),
        Case::new("another configuration than was asked for", nonsense, |asked| {
            if asked.path.contains("/blobs/") && asked.method == Method::GET {
                Act::Answer(answer(
                    StatusCode::OK,
                    json!({"os": "plan9", "architecture": PLANTED}).to_string(),
                ))
            } else {
                Act::Forward
            }
        }),
        Case::new("closed before any answer", kept("did not answer"), |_| Act::Reset),
        Case::new(
            "a manifest that breaks off",
            kept("its registry"),
            manifests(|| Act::Truncate),
        ),
        Case::new("stalled", kept("did not answer in time"), |_| Act::Swallow),
        Case::new("dripping", kept("did not answer in time"), |_| {
            Act::Answer(answer(StatusCode::OK, endless(b" ", Duration::from_millis(200))))
        }),
        Case::new(
            "a manifest without end",
            kept("longer than 4194304 bytes"),
            manifests(|| Act::Answer(answer(StatusCode::OK, endless(&CHUNK, Duration::ZERO)))),
        ),
        Case::new(
            "layers answered with 500",
            kept("with status 500"),
            blobs(|| Act::Answer(answer(StatusCode::INTERNAL_SERVER_ERROR, PLANTED))),
        ),
        Case::new("a login at another server", kept("asks for a login"), |_| {
            let mut refused = answer(StatusCode::UNAUTHORIZED, PLANTED);
            let challenge =
                HeaderValue::from_static("Bearer realm=\"http://127.0.0.1:9/elsewhere\",service=\"planted-7e1f\"");
            refused.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            Act::Answer(refused)
        }),
        Case::new("a login by a way that nobody knows", kept("denies access"), |_| {
            let mut refused = answer(StatusCode::UNAUTHORIZED, PLANTED);
            let challenge = HeaderValue::from_static("Negotiate planted-7e1f");
            refused.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            Act::Answer(refused)
        }),
        Case::new(
            "the registry's own word that there is no such manifest",
            Says::Unknown(&["ImageMissing"], "no such manifest"),
            manifests(|| {
                let body = json!({"errors": [{"code": "MANIFEST_UNKNOWN", "message": PLANTED}]}).to_string();
                Act::Answer(answer(StatusCode::NOT_FOUND, body))
            }),
        ),
        Case::new(
            "the registry's own word that there is no such layer",
            Says::Unknown(&["LayerMissing"], "lacks"),
            blobs(|| {
                let body = json!({"errors": [{"code": "BLOB_UNKNOWN", "message": PLANTED}]}).to_string();
                Act::Answer(answer(StatusCode::NOT_FOUND, body))
            }),
        ),
    ]);
    cases
}

/// An image that its digest names, and why it is none: what the registry has of it, by digest.
struct Hollow {
    name: &'static str,
    manifest: Vec<u8>,
    blobs: Vec<Vec<u8>>,
    reason: &'static str,
    words: &'static str,
}

fn config(os: &str, architecture: &str) -> Vec<u8> {
    json!({"os": os, "architecture": architecture, "config": {"Labels": {"x": PLANTED}}})
        .to_string()
        .into_bytes()
}

fn described(kind: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()})
}

fn manifest(config: &[u8], layers: &[&[u8]]) -> Vec<u8> {
    let layers: Vec<Value> = layers.iter().map(|layer| described(LAYER, layer)).collect();
    json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": described(CONFIG, config), "layers": layers})
        .to_string()
        .into_bytes()
}

fn index(entries: &[Value]) -> Vec<u8> {
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})
        .to_string()
        .into_bytes()
}

/// Images that their digests name truly, and to which nobody can go back.
fn images() -> Vec<Hollow> {
    let amd64 = config("linux", "amd64");
    let here = |mut entry: Value, os: &str, architecture: &str| {
        entry["platform"] = json!({"os": os, "architecture": architecture});
        entry
    };
    let layer: &[u8] = b"a layer";
    let good = manifest(&amd64, &[layer]);
    let text = |text: String| text.into_bytes();
    let none = |name, manifest: Vec<u8>, blobs: Vec<Vec<u8>>, reason, words| Hollow {
        name,
        manifest,
        blobs,
        reason,
        words,
    };
    let arm = config("linux", "arm64");
    let strange = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": described(CONFIG, &amd64),
        "layers": [{"mediaType": LAYER, "digest": format!("sha256:../{PLANTED}"), "size": 1}]});
    let many: Vec<Vec<u8>> = (0..600).map(|number| format!("layer {number}").into_bytes()).collect();
    let many: Vec<&[u8]> = many.iter().map(Vec::as_slice).collect();
    vec![
        none(
            "for another platform",
            manifest(&arm, &[layer]),
            vec![arm.clone(), layer.to_vec()],
            "PlatformMissing",
            "linux/amd64",
        ),
        none(
            "an index without the platform",
            index(&[here(described(MANIFEST, &good), "linux", "s390x")]),
            vec![],
            "PlatformMissing",
            "linux/amd64",
        ),
        none(
            "an index of nothing",
            index(&[]),
            vec![],
            "PlatformMissing",
            "linux/amd64",
        ),
        none(
            "an index whose manifest is gone",
            index(&[here(described(MANIFEST, b"gone"), "linux", "amd64")]),
            vec![],
            "LayerMissing",
            "its manifest for",
        ),
        none(
            "an index of an index",
            index(&[here(described(INDEX, &index(&[])), "linux", "amd64")]),
            vec![index(&[])],
            "NotAnImage",
            "no image",
        ),
        none(
            "without a layer of two",
            manifest(&amd64, &[layer, b"gone"]),
            vec![amd64.clone(), layer.to_vec()],
            "LayerMissing",
            "layer 2 of 2",
        ),
        none(
            "without its configuration",
            manifest(b"gone", &[layer]),
            vec![layer.to_vec()],
            "LayerMissing",
            "its configuration",
        ),
        none(
            "a configuration that is no JSON",
            manifest(PLANTED.as_bytes(), &[layer]),
            vec![PLANTED.into(), layer.to_vec()],
            "NotAnImage",
            "no image",
        ),
        none(
            "a manifest that is no JSON",
            text(format!("<html>{PLANTED}</html>")),
            vec![],
            "NotAnImage",
            "no image",
        ),
        none(
            "a manifest of YAML",
            text(format!("a: &a [{PLANTED}]\nb: [*a, *a]\n")),
            vec![],
            "NotAnImage",
            "no image",
        ),
        none(
            "a manifest nested 100,000 deep",
            text(format!("{{\"layers\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000))),
            vec![],
            "NotAnImage",
            "no image",
        ),
        none(
            "a manifest with its layers twice",
            text(format!(
                "{{\"layers\":[],\"layers\":[],\"config\":{{}},\"x\":\"{PLANTED}\"}}"
            )),
            vec![],
            "NotAnImage",
            "no image",
        ),
        none(
            "neither manifest nor index",
            text(json!({"schemaVersion": 2, "x": PLANTED}).to_string()),
            vec![],
            "NotAnImage",
            "no image",
        ),
        none(
            "both manifest and index",
            text(json!({"manifests": [], "config": described(CONFIG, &amd64), "layers": []}).to_string()),
            vec![],
            "NotAnImage",
            "no image",
        ),
        none(
            "a layer whose digest is a path",
            text(strange.to_string()),
            vec![amd64.clone()],
            "NotAnImage",
            "no image",
        ),
        none(
            "600 layers",
            manifest(&amd64, &many),
            vec![amd64.clone()],
            "NotAnImage",
            "no image",
        ),
    ]
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
        match kept.get(named) {
            Some(bytes) => Act::Answer(answer(StatusCode::OK, bytes.clone())),
            None => {
                let body = json!({"errors": [{"code": "UNKNOWN", "message": PLANTED}]}).to_string();
                Act::Answer(answer(StatusCode::NOT_FOUND, body))
            }
        }
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
