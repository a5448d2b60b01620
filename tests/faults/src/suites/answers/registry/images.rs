//! Images that are none, each named by its true digest.

use bed::registry::{INDEX, MANIFEST, digest};
use serde_json::{Value, json};

use crate::plan::PLANTED;

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// An image that its digest names, and why it is none: what the registry has of it, by digest.
pub struct Hollow {
    pub name: &'static str,
    pub manifest: Vec<u8>,
    pub blobs: Vec<Vec<u8>>,
    pub reason: &'static str,
    pub words: &'static str,
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
#[expect(clippy::too_many_lines, reason = "a list of cases")]
pub fn images() -> Vec<Hollow> {
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
