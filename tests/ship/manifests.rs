//! deploy/ and the chart say the same.

use std::process::Command;

use bed::part::{HELM, KUBERNETES};
use serde_json::{Value, json};

use crate::tools;

/// `kubectl kustomize` of a folder of the project.
pub fn kustomize(folder: &str) -> Vec<Value> {
    let mut command = Command::new(tools::program(&KUBERNETES));
    // One program of many names.
    command
        .arg("kubectl")
        .args(["kustomize", folder])
        .current_dir(tools::project());
    tools::documents(&tools::outcome(&mut command).unwrap())
}

#[test]
fn generated_manifests_and_files_of_the_chart_are_up_to_date() {
    let mut command = Command::new(tools::project().join("scripts/manifests"));
    command.arg("--check").env("HELM", tools::program(&HELM));
    tools::outcome(&mut command).unwrap();
}

#[test]
fn every_kustomization_is_what_the_chart_renders() {
    let values = tools::project().join("deploy/values.yaml").display().to_string();
    let rendered = |more: &[&str]| {
        let text = tools::template(&HELM, &tools::chart(), &values, more).unwrap();
        let mut objects = tools::documents(&text);
        for object in &mut objects {
            for labels in ["/metadata/labels", "/spec/template/metadata/labels"] {
                if let Some(labels) = object.pointer_mut(labels).and_then(Value::as_object_mut) {
                    labels.remove("app.kubernetes.io/managed-by");
                    labels.remove("helm.sh/chart");
                }
            }
            let annotations = object.pointer_mut("/spec/template/metadata/annotations");
            if let Some(annotations) = annotations.and_then(Value::as_object_mut) {
                annotations.remove("quality-officer.dev/config-sha256");
            }
        }
        tools::by_name(objects)
    };
    let mut cluster_wide = tools::by_name(kustomize("deploy/cluster-wide"));
    let namespace = cluster_wide.remove("Namespace /quality-officer").unwrap();
    assert_eq!(
        namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"],
        "restricted"
    );
    assert_eq!(
        cluster_wide,
        rendered(&["--set", "crds.keep=false,admission.enabled=false"])
    );

    let mut single = rendered(&[
        "--set",
        "watchNamespace=quality-officer,crds.install=false,admission.enabled=false",
    ]);
    // Its name has the namespace's: the operator makes it.
    single
        .remove("Lease quality-officer/quality-officer-quality-officer")
        .unwrap();
    let container = single
        .get_mut("Deployment quality-officer/quality-officer")
        .and_then(|deployment| deployment.pointer_mut("/spec/template/spec/containers/0"))
        .unwrap();
    // An overlay moves it to another namespace, so its own is not written into it.
    let arguments = container["args"].as_array_mut().unwrap();
    let own = arguments
        .iter()
        .position(|argument| argument == "--namespace=quality-officer");
    arguments.remove(own.unwrap());
    arguments.push(json!("--namespace=$(POD_NAMESPACE)"));
    container["env"] =
        json!([{"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}]);
    assert_eq!(tools::by_name(kustomize("deploy/single-namespace")), single);
    let is_cluster_role = |name: &&String| name.starts_with("Cluster");
    assert_eq!(single.keys().find(is_cluster_role), None);
}

#[test]
fn the_example_overlay_replaces_image_and_configuration() {
    let objects = kustomize("examples/kustomize");
    let image = &tools::only(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["image"];
    assert_eq!(image, "registry.example/quality-officer:0.1.0");
    let config = tools::only(&objects, "ConfigMap");
    let text = config["data"]["config.yaml"].as_str().unwrap();
    assert!(text.contains("prometheus.observability"), "{text}");
    let volume = &tools::only(&objects, "Deployment")["spec"]["template"]["spec"]["volumes"][0];
    assert_eq!(volume["configMap"]["name"], config["metadata"]["name"]);
}
