//! The admission policies on the real API server, under users with few rights. The status that they read is written by
//! hand here, so that each case is one request; `operated` has the operator write it.

mod author;
mod hold;
mod operated;
mod quarantine;
mod registered;
mod restraint;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stage::{Space, StageError, script};

use crate::scene::{good, policy, space};

/// May change Deployments and nothing else.
const DEVELOPER: &str = "developer";
/// May use break-glass as well.
const CHIEF: &str = "chief";
/// May write what is the operator's, and change no Deployment.
const AUTHOR: &str = "author";
/// The test's own rights: all of them.
const ADMINISTRATOR: &str = "administrator";
pub const OPERATOR: &str = "system:serviceaccount:quality-officer:quality-officer";
/// The API server's watch of the policies follows within this time.
const FOLLOWS: Duration = Duration::from_secs(15);

/// A namespace with the users, the Deployment `ranker` on the good image, and no operator.
async fn place(namespace: &str) -> Space {
    let space = space(namespace).await;
    let rule = |groups: &str, resources: &[&str], verbs: &[&str]| json!({"apiGroups": [groups], "resources": resources, "verbs": verbs});
    let all = ["get", "list", "watch", "create", "update", "patch"];
    let ours = "quality-officer.dev";
    let deployments = rule("apps", &["deployments", "deployments/scale"], &all);
    let kinds = ["qualitypolicies", "rollbackcheckpoints", "recoverydrills"];
    for (user, rules) in [
        (DEVELOPER, json!([deployments])),
        (
            CHIEF,
            json!([deployments, rule(ours, &["qualitypolicies"], &["bypass"])]),
        ),
        (AUTHOR, json!([rule(ours, &kinds, &all)])),
    ] {
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": user}, "rules": rules,
        });
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": user},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": user},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        });
        space.apply(&role.to_string()).unwrap();
        space.apply(&binding.to_string()).unwrap();
    }
    script::deploy(&space, &good()).await.unwrap();
    space
}

/// As [`place`], with the policy `ranker` in this gate mode and with this status.
async fn guarded(namespace: &str, mode: &str, status: &Value) -> Space {
    let space = place(namespace).await;
    space.apply(&policy(&json!({"gate": {"mode": mode}}))).unwrap();
    say(&space, "ranker", status);
    space
}

/// Writes a policy's status, in the operator's place.
fn say(space: &Space, policy: &str, status: &Value) {
    let patch = json!({"status": status}).to_string();
    space
        .kubectl(&[
            "patch",
            "qualitypolicy",
            policy,
            "--subresource=status",
            "--type=merge",
            "-p",
            &patch,
        ])
        .unwrap();
}

fn closed() -> Value {
    json!({"gate": {
        "state": "Closed", "reason": "SLOsFailing", "message": "incident ranker-7f3c9 is open: error rate 3.1 %",
        "since": "2026-11-24T14:32:15Z", "incident": "ranker-7f3c9",
    }})
}

/// A change of a Deployment's first container's image, with annotations of the Deployment.
fn ship(image: &str, annotations: &Value) -> Value {
    json!({
        "metadata": {"annotations": annotations},
        "spec": {"template": {"spec": {"containers": [{"name": "server", "image": image}]}}},
    })
}

fn patch(space: &Space, user: &str, deployment: &str, patch: &Value, more: &[&str]) -> Result<String, StageError> {
    let text = patch.to_string();
    let mut arguments = vec!["patch", "deployment", deployment, "-p", &text];
    if user != ADMINISTRATOR {
        arguments.extend(["--as", user]);
    }
    arguments.extend(more);
    space.kubectl(&arguments)
}

/// Whether and with which words the API server would refuse this, once it knows what was written before.
async fn asked(what: &str, refused: bool, ask: impl Fn() -> Result<String, StageError>) -> String {
    let begin = Instant::now();
    loop {
        match (ask(), refused) {
            (Ok(text), false) => return text,
            (Err(error), true) => return error.to_string(),
            (answer, _) if begin.elapsed() > FOLLOWS => panic!("{what}: expected refused = {refused}, got {answer:?}"),
            _ => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

/// The words with which a change of `ranker` is refused.
async fn denied(space: &Space, user: &str, change: &Value) -> String {
    let ask = || patch(space, user, "ranker", change, &["--dry-run=server"]);
    asked(&format!("{user}: {change}"), true, ask).await
}

/// A change of `ranker` would be let in.
async fn passes(space: &Space, user: &str, change: &Value) {
    let ask = || patch(space, user, "ranker", change, &["--dry-run=server"]);
    asked(&format!("{user}: {change}"), false, ask).await;
}

/// The policies that warn are those that deny but for their names, the mode they ask for and what they do.
#[test]
fn what_warns_is_what_denies() {
    for file in ["hold", "quarantine"] {
        let path = stage::install::project().join(format!("deploy/admission/{file}.yaml"));
        let text = std::fs::read_to_string(path).unwrap();
        let parts: Vec<&str> = text.split("\n---\n").collect();
        let [deny, deny_binding, warn, warn_binding] = parts[..] else {
            panic!("{file}: {} documents", parts.len());
        };
        let bare = |text: &str| {
            let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
            lines.join("\n")
        };
        let turned = bare(warn)
            .replace(
                &format!("quality-officer-{file}-warn"),
                &format!("quality-officer-{file}"),
            )
            .replace("== 'Warn'", "== 'Enforce'");
        assert_eq!(turned, bare(deny), "{file}");
        let turned = bare(warn_binding)
            .replace(
                &format!("quality-officer-{file}-warn"),
                &format!("quality-officer-{file}"),
            )
            .replace("[Warn]", "[Deny]");
        assert_eq!(turned, bare(deny_binding), "{file}");
    }
}
