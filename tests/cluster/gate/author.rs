//! Who writes a policy, a checkpoint or a drill must be allowed to patch the Deployment.

use serde_json::{Value, json};
use stage::{Space, StageError};

use super::{AUTHOR, asked, place};
use crate::scene::{checkpoint, good, policy};

fn create(space: &Space, user: &str, object: &str) -> Result<String, StageError> {
    std::fs::create_dir_all(space.folder()).unwrap();
    let path = space.folder().join("object.json");
    std::fs::write(&path, object).unwrap();
    space.kubectl(&[
        "create",
        "--dry-run=server",
        "-f",
        &path.display().to_string(),
        "--as",
        user,
    ])
}

fn drill() -> String {
    json!({
        "apiVersion": "quality-officer.dev/v1alpha1", "kind": "RecoveryDrill", "metadata": {"name": "by-hand"},
        "spec": {"policyRef": {"name": "ranker"}},
    })
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_patch_the_deployment_writes_no_policy_checkpoint_or_drill_for_it() {
    let space = place("gate-author").await;
    space.apply(&policy(&json!({}))).unwrap();
    space.apply(&checkpoint("old", &good())).unwrap();
    let mut other: Value = serde_json::from_str(&policy(&json!({}))).unwrap();
    other["metadata"]["name"] = json!("other");
    let objects = [other.to_string(), checkpoint("new", &good()), drill()];
    for object in &objects {
        let message = asked(object, true, || create(&space, AUTHOR, object)).await;
        assert!(
            message.contains("author may not patch deployments.apps/ranker in gate-author"),
            "{message}"
        );
    }
    let change = |kind: &str, name: &str, patch: &Value| {
        let text = patch.to_string();
        space.kubectl(&[
            "patch",
            kind,
            name,
            "--type=merge",
            "-p",
            &text,
            "--as",
            AUTHOR,
            "--dry-run=server",
        ])
    };
    let changes = [
        (
            "qualitypolicy",
            "ranker",
            json!({"spec": {"rollback": {"mode": "Observe"}}}),
        ),
        (
            "qualitypolicy",
            "ranker",
            json!({"metadata": {"annotations": {"quality-officer.dev/release": "sha256:b"}}}),
        ),
        ("rollbackcheckpoint", "old", json!({"spec": {"revoked": true}})),
    ];
    for (kind, name, patch) in &changes {
        let message = change(kind, name, patch).unwrap_err().to_string();
        assert!(message.contains("must be allowed to patch its Deployment"), "{message}");
    }
    change("qualitypolicy", "ranker", &json!({"metadata": {"labels": {"a": "b"}}})).unwrap();
    // For that Deployment alone, and it is enough.
    let rule =
        json!([{"apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": ["ranker"], "verbs": ["patch"]}]);
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "patches"}, "rules": rule,
    });
    space.apply(&role.to_string()).unwrap();
    space
        .kubectl(&[
            "create",
            "rolebinding",
            "patches",
            "--role=patches",
            &format!("--user={AUTHOR}"),
        ])
        .unwrap();
    for object in &objects {
        asked(object, false, || create(&space, AUTHOR, object)).await;
    }
    for (kind, name, patch) in &changes {
        change(kind, name, patch).unwrap();
    }
    let elsewhere = policy(&json!({"targetRef": {"name": "web"}})).replace("\"name\":\"ranker\"", "\"name\":\"web\"");
    create(&space, AUTHOR, &elsewhere).unwrap_err();
}
