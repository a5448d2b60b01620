//! The chart without a cluster: it renders, its objects are what Kubernetes knows, wrong values are refused.

use std::process::Command;

use bed::part::{HELM, HELM3, KUBECONFORM};
use serde_json::Value;

use crate::{schemas, tools};

/// The releases whose API descriptions the rendered objects are checked against.
const RELEASES: [&str; 3] = ["1.35.4", "1.36.3", tools::KUBERNETES];

#[test]
fn both_helms_find_nothing_to_complain_about_and_render_the_same() {
    let home = tempfile::tempdir().unwrap();
    for values in tools::values() {
        let values = values.display().to_string();
        for part in [&HELM, &HELM3] {
            let chart = tools::chart().display().to_string();
            let arguments = [
                "lint",
                "--strict",
                &chart,
                "-f",
                &values,
                "--kube-version",
                tools::KUBERNETES,
            ];
            tools::outcome(&mut tools::helm(part, home.path(), &arguments)).unwrap();
        }
        let four = tools::template(&HELM, &tools::chart(), &values, &[]).unwrap();
        let three = tools::template(&HELM3, &tools::chart(), &values, &[]).unwrap();
        assert_eq!(
            tools::by_name(tools::documents(&four)),
            tools::by_name(tools::documents(&three)),
            "{values}"
        );
    }
}

#[test]
fn every_rendered_object_is_valid_for_each_supported_kubernetes() {
    let folder = tempfile::tempdir().unwrap();
    let more = folder.path().join("definitions");
    std::fs::create_dir_all(&more).unwrap();
    let monitoring = bed::go_module::sources("github.com/prometheus-operator/prometheus-operator@v0.85.0").unwrap();
    for name in ["servicemonitors", "prometheusrules"] {
        let path = monitoring.join(format!(
            "example/prometheus-operator-crd/monitoring.coreos.com_{name}.yaml"
        ));
        let text = std::fs::read_to_string(path).unwrap();
        for definition in tools::documents(&text) {
            schemas::of_definition(&more, &definition);
        }
    }
    for entry in std::fs::read_dir(tools::project().join("crds")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        schemas::of_definition(&more, &serde_saphyr::from_str::<Value>(&text).unwrap());
    }
    let mut files = vec![
        tools::project().join("examples/ranker.yaml"),
        tools::project().join("examples/drill.yaml"),
    ];
    for values in tools::values() {
        let path = folder.path().join(values.file_name().unwrap());
        let text = tools::template(&HELM, &tools::chart(), &values.display().to_string(), &[]).unwrap();
        std::fs::write(&path, text).unwrap();
        files.push(path);
    }
    let wrong = folder.path().join("wrong.yaml");
    let text = "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: x}\nspec: {maxUnavailabel: 1}\n";
    std::fs::write(&wrong, text).unwrap();
    for release in RELEASES {
        let known = schemas::of_kubernetes(folder.path(), release);
        let check = |files: &[std::path::PathBuf]| {
            let mut command = Command::new(tools::program(&KUBECONFORM));
            command.args(["-strict", "-summary", "-schema-location", &schemas::location(&known)]);
            command
                .args(["-schema-location", &schemas::location(&more)])
                .args(files);
            tools::outcome(&mut command)
        };
        let said = check(&files).unwrap_or_else(|problems| panic!("{release}: {problems}"));
        assert!(said.contains("Invalid: 0, Errors: 0, Skipped: 0"), "{release}: {said}");
        // The check itself can fail.
        let said = check(std::slice::from_ref(&wrong)).unwrap_err();
        assert!(said.contains("maxUnavailabel"), "{said}");
    }
}

#[test]
fn a_wrong_value_is_refused_with_its_name() {
    let minimal = tools::values_of("minimal");
    for (set, words) in [
        ("imagee.tag=1", "imagee"),
        ("replicas=two", "replicas"),
        ("crds.keep=false", "crds.keep is false and admission.enabled true"),
        (
            "replicas=2,leaderElection.enabled=false",
            "replicas is 2: more than one needs leaderElection.enabled",
        ),
        ("image.digest=latest", "digest"),
        ("image.repository=", "image.repository is not set"),
        ("config.metricsSources.default.uri=http://x", "uri"),
        (
            "config.metricsSources.default.url=ftp://x",
            "/config/metricsSources/default/url",
        ),
        (
            "config.metricsSources.default.url=http://user:word@x",
            "/config/metricsSources/default/url",
        ),
        (
            "config.metricsSources.default.timeoutMilliseconds=5",
            "timeoutMilliseconds",
        ),
        (
            "config.objectStores.models.url=ftp://x",
            "/config/objectStores/models/url",
        ),
        ("credentials[0].name=a/../b", "credentials"),
        ("watchNamespace=Shop", "watchNamespace"),
        ("extraArgs[0]=run", "extraArgs"),
        ("serviceAccount.create=false", "serviceAccount.name"),
    ] {
        for part in [&HELM, &HELM3] {
            let refused = tools::template(part, &tools::chart(), &minimal, &["--set", set]);
            let message = refused.expect_err(set).replace('.', "/");
            assert!(
                message.contains(&words.replace('.', "/")),
                "{set}: expected {words:?} in {message}"
            );
        }
    }
}

#[test]
fn every_configuration_that_the_chart_renders_is_one_that_the_operator_takes() {
    let folder = tempfile::tempdir().unwrap();
    let example = std::fs::read_to_string(tools::project().join("examples/operator.yaml")).unwrap();
    let values = folder.path().join("example-values.yaml");
    // Its lines, one step further in.
    let keys = format!("  {}", example.replace('\n', "\n  "));
    std::fs::write(&values, format!("image: {{repository: x}}\nconfig:\n{keys}")).unwrap();
    for values in tools::values().into_iter().chain([values]) {
        let values = values.display().to_string();
        let objects = tools::documents(&tools::template(&HELM, &tools::chart(), &values, &[]).unwrap());
        let text = tools::only(&objects, "ConfigMap")["data"]["config.yaml"]
            .as_str()
            .unwrap();
        let config = quality_officer::config::Config::parse(&values, text).unwrap();
        assert!(!config.metrics_sources.is_empty(), "{values}");
    }
}

#[test]
fn what_this_build_of_the_chart_lacks_is_said() {
    let bare = tempfile::tempdir().unwrap();
    tools::copy(&tools::chart(), bare.path());
    for folder in ["files/admission", "files/monitoring"] {
        // It may not be there.
        let _ = std::fs::remove_dir_all(bare.path().join(folder));
    }
    for switch in ["admission.enabled", "prometheusRule.enabled", "dashboard.enabled"] {
        let set = format!("admission.enabled=false,{switch}=true");
        let said = tools::template(&HELM, bare.path(), &tools::values_of("minimal"), &["--set", &set]).unwrap_err();
        assert!(
            said.contains(&format!("{switch}: this build of the chart has no")),
            "{said}"
        );
    }
}

#[test]
fn admission_policies_and_monitoring_files_are_included_whole() {
    let whole = tempfile::tempdir().unwrap();
    tools::copy(&tools::chart(), whole.path());
    let write = |path: &str, text: &str| {
        let path = whole.path().join("files").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write(
        "admission/self.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  \
         user: system:serviceaccount:quality-officer:quality-officer\n---\n\
         apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n",
    );
    write("monitoring/rules.yaml", "spec: {groups: [{name: g, rules: []}]}\n");
    write("monitoring/dashboard.json", "{\"title\": \"{{ job }}\"}\n");
    let all = "admission.enabled=true,prometheusRule.enabled=true,dashboard.enabled=true,fullnameOverride=officer";
    let text = tools::template(&HELM, whole.path(), &tools::values_of("minimal"), &["--set", all]).unwrap();
    let objects = tools::by_name(tools::documents(&text));
    assert_eq!(
        objects["ConfigMap /a"]["data"]["user"],
        "system:serviceaccount:quality-officer:officer"
    );
    assert!(objects.contains_key("ConfigMap /b"));
    let rule = &objects["PrometheusRule quality-officer/officer"];
    assert_eq!(rule["spec"]["groups"][0]["name"], "g");
    let dashboard = &objects["ConfigMap quality-officer/officer-dashboard"]["data"]["quality-officer.json"];
    assert_eq!(dashboard, "{\"title\": \"{{ job }}\"}\n");
}

#[test]
fn credentials_are_mounted_and_no_secret_is_read_through_the_api() {
    let text = tools::template(&HELM, &tools::chart(), &tools::values_of("everything"), &[]).unwrap();
    let objects = tools::documents(&text);
    let pod = &tools::only(&objects, "Deployment")["spec"]["template"]["spec"];
    let config = tools::only(&objects, "ConfigMap")["data"]["config.yaml"]
        .as_str()
        .unwrap();
    let mounted: Vec<_> = pod["containers"][0]["volumeMounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mount| mount["mountPath"].as_str().unwrap())
        .collect();
    for name in [
        "credentials/prometheus",
        "credentials/mlflow",
        "credentials/s3",
        "authorities/internal",
    ] {
        let path = format!("/etc/quality-officer/{name}");
        assert!(mounted.contains(&path.as_str()), "{mounted:?}");
        assert!(config.contains(&path), "{path}");
    }
    assert!(
        pod["containers"][0]["env"].is_null(),
        "no credential travels in the environment"
    );
    for object in &objects {
        assert!(object["kind"] != "Secret", "{object}");
    }
}
