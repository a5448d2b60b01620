//! What the operator's own identity may do to Deployments.

use serde_json::{Value, json};

use super::{OPERATOR, asked, denied, passes, patch, place, ship};
use crate::scene::{bad, image};

/// A change of the template's pod.
fn pod(change: &Value) -> Value {
    json!({"spec": {"template": {"spec": change}}})
}

/// A change of the one container.
fn container(change: &Value) -> Value {
    let mut container = json!({"name": "server"});
    crate::scene::merge(&mut container, change);
    pod(&json!({"containers": [container]}))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_changes_images_and_its_own_annotations() {
    let space = place("restraint-images").await;
    denied(&space, OPERATOR, &json!({"spec": {"replicas": 9}})).await;
    for annotation in ["quality-officer.dev/rollback", "quality-officer.dev/drill"] {
        patch(
            &space,
            OPERATOR,
            "ranker",
            &ship(&bad(), &json!({annotation: "x"})),
            &[],
        )
        .unwrap();
        patch(
            &space,
            OPERATOR,
            "ranker",
            &ship(&image('c'), &json!({annotation: null})),
            &[],
        )
        .unwrap();
    }
}

/// A change of each kind of field that is no image.
fn changes() -> Vec<(&'static str, Value)> {
    let probe = json!({"httpGet": {"path": "/", "port": 80}});
    vec![
        ("replicas", json!({"spec": {"replicas": 9}})),
        ("paused", json!({"spec": {"paused": true}})),
        (
            "strategy",
            json!({"spec": {"strategy": {"type": "Recreate", "rollingUpdate": null}}}),
        ),
        ("minReadySeconds", json!({"spec": {"minReadySeconds": 9}})),
        ("revisionHistoryLimit", json!({"spec": {"revisionHistoryLimit": 0}})),
        (
            "progressDeadlineSeconds",
            json!({"spec": {"progressDeadlineSeconds": 9}}),
        ),
        ("labels", json!({"metadata": {"labels": {"a": "b"}}})),
        ("annotations", json!({"metadata": {"annotations": {"a": "b"}}})),
        (
            "fixes",
            json!({"metadata": {"annotations": {"quality-officer.dev/fixes": "ranker-1"}}}),
        ),
        ("finalizers", json!({"metadata": {"finalizers": ["example.com/a"]}})),
        (
            "template labels",
            json!({"spec": {"template": {"metadata": {"labels": {"a": "b"}}}}}),
        ),
        (
            "template annotations",
            json!({"spec": {"template": {"metadata": {"annotations": {"a": "b"}}}}}),
        ),
        (
            "another container",
            pod(&json!({"containers": [{"name": "miner", "image": "x:1"}]})),
        ),
        (
            "init container",
            pod(&json!({"initContainers": [{"name": "miner", "image": "x:1"}]})),
        ),
        (
            "volumes",
            pod(&json!({"volumes": [{"name": "a", "hostPath": {"path": "/"}}]})),
        ),
        ("service account", pod(&json!({"serviceAccountName": "admin"}))),
        ("token", pod(&json!({"automountServiceAccountToken": true}))),
        ("pull secrets", pod(&json!({"imagePullSecrets": [{"name": "a"}]}))),
        ("pod security", pod(&json!({"securityContext": {"runAsUser": 0}}))),
        ("hostNetwork", pod(&json!({"hostNetwork": true}))),
        ("hostPID", pod(&json!({"hostPID": true}))),
        ("hostIPC", pod(&json!({"hostIPC": true}))),
        (
            "hostAliases",
            pod(&json!({"hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a"]}]})),
        ),
        ("nodeName", pod(&json!({"nodeName": "a"}))),
        ("nodeSelector", pod(&json!({"nodeSelector": {"a": "b"}}))),
        ("tolerations", pod(&json!({"tolerations": [{"operator": "Exists"}]}))),
        ("scheduler", pod(&json!({"schedulerName": "a"}))),
        ("priority", pod(&json!({"priorityClassName": "system-node-critical"}))),
        ("runtimeClass", pod(&json!({"runtimeClassName": "a"}))),
        ("grace", pod(&json!({"terminationGracePeriodSeconds": 1}))),
        ("dns", pod(&json!({"dnsPolicy": "Default"}))),
        ("command", container(&json!({"command": ["sh"]}))),
        ("args", container(&json!({"args": ["x"]}))),
        ("env", container(&json!({"env": [{"name": "A", "value": "b"}]}))),
        (
            "envFrom",
            container(&json!({"envFrom": [{"secretRef": {"name": "a"}}]})),
        ),
        ("workingDir", container(&json!({"workingDir": "/"}))),
        (
            "container security",
            container(&json!({"securityContext": {"privileged": true}})),
        ),
        ("resources", container(&json!({"resources": {"limits": {"cpu": "9"}}}))),
        ("ports", container(&json!({"ports": [{"containerPort": 80}]}))),
        ("readiness", container(&json!({"readinessProbe": probe}))),
        ("liveness", container(&json!({"livenessProbe": probe}))),
        (
            "lifecycle",
            container(&json!({"lifecycle": {"preStop": {"exec": {"command": ["a"]}}}})),
        ),
        ("pull policy", container(&json!({"imagePullPolicy": "Always"}))),
        ("tty", container(&json!({"tty": true}))),
        (
            "volume and its mount",
            pod(&json!({
                "volumes": [{"name": "a", "emptyDir": {}}],
                "containers": [{"name": "server", "volumeMounts": [{"name": "a", "mountPath": "/a"}]}],
            })),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_changes_nothing_else_of_a_deployment_whatever_its_rbac_says() {
    let space = place("restraint-else").await;
    for (what, mut change) in changes() {
        let message = denied(&space, OPERATOR, &change).await;
        assert!(
            message.contains("'quality-officer-self-restraint'") && message.contains("the operator "),
            "{what}: {message}"
        );
        // Nor in the shade of an image.
        if let Some(first) = change.pointer_mut("/spec/template/spec/containers/0") {
            first["image"] = json!(bad());
            denied(&space, OPERATOR, &change).await;
        }
        // What others do is none of this.
        if what == "replicas" || what == "env" {
            passes(&space, super::DEVELOPER, &change).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_makes_and_deletes_only_shadows_of_drills() {
    let space = place("restraint-shadows").await;
    let shadow = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": "ranker-drill-1", "labels": {"quality-officer.dev/drill": "weekly"},
            "ownerReferences": [{"apiVersion": "quality-officer.dev/v1alpha1", "kind": "RecoveryDrill", "name": "weekly", "uid": "1-2"}],
        },
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"quality-officer.dev/drill": "weekly"}},
            "template": {
                "metadata": {"labels": {"quality-officer.dev/drill": "weekly"}},
                "spec": {"containers": [{"name": "server", "image": "x:1"}]},
            },
        },
    });
    let make = |object: &Value| {
        std::fs::create_dir_all(space.folder()).unwrap();
        let path = space.folder().join("shadow.json");
        std::fs::write(&path, object.to_string()).unwrap();
        space.kubectl(&[
            "create",
            "--dry-run=server",
            "-f",
            &path.display().to_string(),
            "--as",
            OPERATOR,
        ])
    };
    let mut plain = shadow.clone();
    plain["metadata"]["labels"] = json!({});
    let mut nobodys = shadow.clone();
    nobodys["metadata"]["ownerReferences"] = json!([]);
    let mut large = shadow.clone();
    large["spec"]["replicas"] = json!(2);
    for other in [&plain, &nobodys, &large] {
        let message = asked("no shadow", true, || make(other)).await;
        assert!(message.contains("but the shadows of recovery drills"), "{message}");
    }
    make(&shadow).unwrap();
    let delete = || space.kubectl(&["delete", "deployment", "ranker", "--dry-run=server", "--as", OPERATOR]);
    let message = delete().unwrap_err().to_string();
    assert!(message.contains("but the shadows of recovery drills"), "{message}");
}

/// The definition that the gate reads cannot be deleted before the gate.
#[tokio::test(flavor = "multi_thread")]
async fn the_definition_of_policies_cannot_be_deleted_before_the_gate() {
    let space = place("restraint-order").await;
    let delete = |name: &str| space.kubectl(&["delete", "crd", name, "--dry-run=server"]);
    let message = delete("qualitypolicies.quality-officer.dev").unwrap_err().to_string();
    assert!(message.contains("uninstall it first"), "{message}");
    delete("recoverydrills.quality-officer.dev").unwrap();
}
