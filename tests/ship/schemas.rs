//! JSON Schemas for kubeconform: from the API description of each Kubernetes release, and from definitions.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

/// Writes the schemas of one Kubernetes release into a folder below `parent`: one file a kind, as kubeconform looks for
/// them, and one with what they share.
pub fn of_kubernetes(parent: &Path, release: &str) -> PathBuf {
    let sources = bed::go_module::sources(&format!("k8s.io/kubernetes@v{release}")).unwrap();
    let text = std::fs::read(sources.join("api/openapi-spec/swagger.json")).unwrap();
    let mut swagger: Value = serde_json::from_slice(&text).unwrap();
    let mut definitions = swagger["definitions"].take();
    let folder = parent.join(release);
    std::fs::create_dir_all(&folder).unwrap();
    for (name, definition) in definitions.as_object_mut().unwrap() {
        tighten(definition);
        if name.ends_with("api.resource.Quantity") {
            definition["type"] = json!(["string", "number"]);
        }
        let kinds = definition["x-kubernetes-group-version-kind"].as_array().cloned();
        let [kind] = kinds.as_deref().unwrap_or_default() else {
            continue;
        };
        let part = |key: &str| kind[key].as_str().unwrap_or_default();
        let schema = json!({"$ref": format!("definitions.json#/definitions/{name}")});
        write(&folder, part("group"), part("version"), part("kind"), &schema);
    }
    let shared = json!({"definitions": definitions}).to_string();
    std::fs::write(folder.join("definitions.json"), shared).unwrap();
    folder
}

/// Writes the schemas of a CustomResourceDefinition's versions.
pub fn of_definition(folder: &Path, definition: &Value) {
    let group = definition["spec"]["group"].as_str().unwrap();
    let kind = definition["spec"]["names"]["kind"].as_str().unwrap();
    for version in definition["spec"]["versions"].as_array().unwrap() {
        let mut schema = version["schema"]["openAPIV3Schema"].clone();
        let properties = schema["properties"].as_object_mut().unwrap();
        properties.insert("apiVersion".to_owned(), json!({"type": "string"}));
        properties.insert("kind".to_owned(), json!({"type": "string"}));
        properties.insert("metadata".to_owned(), json!({"type": "object"}));
        tighten(&mut schema);
        write(folder, group, version["name"].as_str().unwrap(), kind, &schema);
    }
}

/// The template by which kubeconform finds a schema in the folder.
pub fn location(folder: &Path) -> String {
    format!("{}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json", folder.display())
}

fn write(folder: &Path, group: &str, version: &str, kind: &str, schema: &Value) {
    let group = group.split('.').next().filter(|group| !group.is_empty());
    let group = group.map(|group| format!("-{group}")).unwrap_or_default();
    let name = format!("{}{group}-{version}.json", kind.to_lowercase());
    std::fs::write(folder.join(name), schema.to_string()).unwrap();
}

/// What the API server's words mean to a validator of JSON Schemas: fields that are not described are refused,
/// `int-or-string` is one of both, references lead to the shared file.
fn tighten(schema: &mut Value) {
    let Value::Object(object) = schema else {
        return;
    };
    let is_true = |object: &Map<String, Value>, key: &str| object.get(key) == Some(&Value::Bool(true));
    if object.get("format") == Some(&json!("int-or-string")) || is_true(object, "x-kubernetes-int-or-string") {
        object.insert("type".to_owned(), json!(["string", "integer"]));
        object.remove("format");
    }
    if let Some(target) = object.get("$ref").and_then(Value::as_str) {
        let target = format!("definitions.json{target}");
        object.insert("$ref".to_owned(), Value::String(target));
    }
    let is_open = is_true(object, "x-kubernetes-preserve-unknown-fields");
    if object.contains_key("properties") && !object.contains_key("additionalProperties") && !is_open {
        object.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    for (key, value) in object.iter_mut() {
        match (key.as_str(), value) {
            ("properties", Value::Object(properties)) => properties.values_mut().for_each(tighten),
            ("items" | "additionalProperties", inner) => tighten(inner),
            _ => {}
        }
    }
}
