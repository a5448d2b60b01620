//! What a rollback took away does not come back before a person releases it.

use serde_json::{Value, json};
use stage::Space;

use super::{DEVELOPER, asked, denied, guarded, passes, patch, say, ship};
use crate::scene::{bad, image};

fn entry(image: &str, digest: Option<&str>, incident: &str) -> Value {
    let mut entry = json!({
        "image": image, "incident": incident, "reason": "error rate 3.1 %", "since": "2026-11-24T14:32:15Z",
    });
    if let Some(digest) = digest {
        entry["digest"] = json!(digest);
    }
    entry
}

fn digest(digit: char) -> String {
    format!("sha256:{}", digit.to_string().repeat(64))
}

fn containers(prefix: &str, count: usize, bad: &str) -> Value {
    let name = |number: usize| format!("{prefix}{number}");
    let filler = |number: usize| format!("registry.example/a/long/path/of/a/sidecar-{number}:v{number}");
    let all = (0..count).map(|number| json!({"name": name(number), "image": filler(number)}));
    all.chain([json!({"name": format!("{prefix}-last"), "image": bad})])
        .collect()
}

fn make(space: &Space, name: &str, pod: &Value) -> Result<String, stage::StageError> {
    let object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": 0, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod},
        },
    });
    let path = space.folder().join(format!("{name}.json"));
    std::fs::create_dir_all(space.folder()).unwrap();
    std::fs::write(&path, object.to_string()).unwrap();
    space.kubectl(&[
        "create",
        "--dry-run=server",
        "-f",
        &path.display().to_string(),
        "--as",
        DEVELOPER,
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_in_quarantine_is_denied_by_tag_and_by_digest_until_it_is_released() {
    let quarantine = [
        entry("repo/ranker:v2", Some(&digest('b')), "ranker-7f3c9"),
        entry("repo/ranker:v3", None, "ranker-2"),
    ];
    let space = guarded("gate-kept-out", "Enforce", &json!({"quarantine": quarantine})).await;
    let message = denied(&space, DEVELOPER, &ship(&bad(), &json!({}))).await;
    let words = "image sha256:bbbb… is quarantined by incident ranker-7f3c9 (error rate 3.1 %). \
                 Release it with: kubectl quality release ranker --image sha256:bbbb…";
    assert!(message.contains(words), "{message}");
    let elsewhere = format!("mirror.example/x/y:v9@{}", digest('b'));
    for named in ["repo/ranker:v2", &elsewhere, "repo/ranker:v3"] {
        denied(&space, DEVELOPER, &ship(named, &json!({}))).await;
    }
    for named in ["repo/ranker:v22", "repo/ranker:v1", "other/repo/ranker:v3", &image('c')] {
        passes(&space, DEVELOPER, &ship(named, &json!({}))).await;
    }
    // In whatever container, and where the Deployment is made anew.
    for list in ["containers", "initContainers"] {
        let beside = json!({"spec": {"template": {"spec": {list: [{"name": "beside", "image": bad()}]}}}});
        denied(&space, DEVELOPER, &beside).await;
    }
    let pod = |image: &str| json!({"containers": [{"name": "server", "image": image}]});
    space
        .kubectl(&["delete", "deployment", "ranker", "--cascade=foreground"])
        .unwrap();
    asked("made anew", true, || make(&space, "ranker", &pod(&bad()))).await;
    make(&space, "ranker", &pod(&image('c'))).unwrap();
    make(&space, "other", &pod(&bad())).unwrap();
    say(
        &space,
        "ranker",
        &json!({"quarantine": [entry("repo/ranker:v3", None, "ranker-2")]}),
    );
    asked("released", false, || make(&space, "ranker", &pod(&bad()))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_although_it_is_in_quarantine_can_be_changed_and_left() {
    let space = guarded("gate-runs-bad", "Enforce", &json!({})).await;
    patch(&space, DEVELOPER, "ranker", &ship(&bad(), &json!({})), &[]).unwrap();
    say(
        &space,
        "ranker",
        &json!({"quarantine": [entry(&bad(), Some(&digest('b')), "ranker-1")]}),
    );
    let other = json!({"spec": {"template": {"spec": {"initContainers": [{"name": "beside", "image": format!("x@{}", digest('b'))}]}}}});
    denied(&space, DEVELOPER, &other).await;
    let env = json!({"spec": {"template": {"spec": {"containers": [{"name": "server", "env": [{"name": "A", "value": "b"}]}]}}}});
    passes(&space, DEVELOPER, &env).await;
    passes(&space, DEVELOPER, &ship(&image('c'), &json!({}))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_quarantine_and_large_templates_stay_within_what_an_expression_may_cost() {
    let many: Vec<Value> = (0..50)
        .map(|number| {
            let image = format!(
                "registry.example/a/long/path/of/a/repository/ranker:{}-{number}",
                "v".repeat(100)
            );
            entry(
                &image,
                Some(&format!("sha256:{number:064}")),
                &format!("ranker-{number}"),
            )
        })
        .collect();
    let last = format!("registry.example/ranker@sha256:{:064}", 49);
    let space = guarded("gate-large", "Enforce", &json!({"quarantine": many})).await;
    space.kubectl(&["delete", "deployment", "ranker"]).unwrap();
    for (count, inits) in [(10, 5), (100, 50), (500, 0)] {
        let pod = |image: &str| json!({"containers": containers("c", count, image), "initContainers": containers("i", inits, "x:1")});
        let message = asked("large", true, || make(&space, "ranker", &pod(&last))).await;
        assert!(
            message.contains("is quarantined by incident ranker-49"),
            "{count}: {message}"
        );
        asked("large and good", false, || make(&space, "ranker", &pod("x:1"))).await;
    }
}
