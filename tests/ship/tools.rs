//! The programs that the tests run, and what they print.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use bed::{go_build, interrupt::Interrupt, part::Part};
use serde_json::Value;

/// The release that the rendered manifests are for.
pub const KUBERNETES: &str = "1.37.2";

/// The project's folder.
pub fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub fn chart() -> PathBuf {
    project().join("charts/quality-officer")
}

/// The values that the chart is tried with, by their file's name.
pub fn values() -> Vec<PathBuf> {
    let folder = std::fs::read_dir(chart().join("ci")).unwrap();
    let mut files: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 4, "{files:?}");
    files
}

/// The values file of that name.
pub fn values_of(name: &str) -> String {
    chart().join(format!("ci/{name}-values.yaml")).display().to_string()
}

pub fn program(part: &'static Part) -> PathBuf {
    go_build::program(part, &Interrupt::default()).unwrap()
}

/// What the command wrote to stdout, or to stderr when it failed.
pub fn outcome(command: &mut Command) -> Result<String, String> {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if status.success() {
        Ok(text(&stdout))
    } else {
        Err(format!("{}{}", text(&stdout), text(&stderr)))
    }
}

/// A Helm whose own files lie in a folder of the test's.
pub fn helm(part: &'static Part, home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program(part));
    command.args(arguments);
    for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(name, home);
    }
    command
}

/// `helm template` of a chart as the release `quality-officer` in the namespace of that name.
pub fn template(part: &'static Part, chart: &Path, values: &str, more: &[&str]) -> Result<String, String> {
    let home = tempfile::tempdir().unwrap();
    let chart = chart.display().to_string();
    let mut arguments = vec!["template", "quality-officer", &chart, "--namespace", "quality-officer"];
    arguments.extend(["--kube-version", KUBERNETES, "-f", values]);
    arguments.extend(more);
    outcome(&mut helm(part, home.path(), &arguments))
}

/// The objects of some YAML documents.
pub fn documents(text: &str) -> Vec<Value> {
    text.split("\n---")
        .map(|document| serde_saphyr::from_str::<Value>(document).unwrap())
        .filter(|object| !object.is_null())
        .collect()
}

/// Objects by kind, namespace and name.
pub fn by_name(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let name = |object: &Value| {
        let part = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        format!(
            "{} {}/{}",
            part("/kind"),
            part("/metadata/namespace"),
            part("/metadata/name")
        )
    };
    objects.into_iter().map(|object| (name(&object), object)).collect()
}

/// The one object of that kind.
pub fn only<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let found: Vec<_> = objects.iter().filter(|object| object["kind"] == kind).collect();
    assert_eq!(found.len(), 1, "{kind}");
    found[0]
}

/// Copies a folder with all that is in it.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}
