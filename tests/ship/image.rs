//! The image that scripts/image assembles is what a registry takes and what the operator's own client finds whole.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use bed::registry::{Access, Registry};
use quality_officer::{
    config::RegistrySettings,
    evidence::oci_registry::{Reference, Registry as Client},
};
use serde_json::Value;

use crate::tools;

fn assemble(folder: &Path, architectures: &[&str], name: &str) -> (String, PathBuf) {
    let text = folder.join("text");
    std::fs::write(&text, "-----BEGIN CERTIFICATE-----\n").unwrap();
    let archive = folder.join(name);
    let mut command = Command::new(tools::project().join("scripts/image"));
    for architecture in architectures {
        // Any program will do.
        let program = format!("{architecture}={}", env!("CARGO_BIN_EXE_crdgen"));
        command.args(["--program", &program]);
    }
    command.arg("--authorities").arg(&text).arg("--notices").arg(&text);
    command.args(["--version", "0.1.0", "--revision", "abc", "--epoch", "1700000000"]);
    let digest = tools::outcome(command.arg(&archive)).unwrap();
    (digest.trim().to_owned(), archive)
}

#[test]
fn the_same_program_makes_the_same_image() {
    let folder = tempfile::tempdir().unwrap();
    let (first, one) = assemble(folder.path(), &["amd64"], "one.tar");
    let (second, two) = assemble(folder.path(), &["amd64"], "two.tar");
    assert_eq!(first, second);
    assert!(std::fs::read(one).unwrap() == std::fs::read(two).unwrap());
    assert_ne!(first, assemble(folder.path(), &["arm64"], "three.tar").0);
}

#[test]
fn a_registry_takes_the_image_and_the_operator_finds_it_whole_for_each_processor() {
    let folder = tempfile::tempdir().unwrap();
    let (digest, archive) = assemble(folder.path(), &["amd64", "arm64"], "image.tar");
    let mut command = Command::new("tar");
    command.arg("-xf").arg(archive).arg("-C").arg(folder.path());
    tools::outcome(&mut command).unwrap();
    let blob = |digest: &str| std::fs::read(folder.path().join("blobs").join(digest.replace(':', "/"))).unwrap();
    let json = |digest: &str| serde_json::from_slice::<Value>(&blob(digest)).unwrap();
    let layout: Value = serde_json::from_slice(&std::fs::read(folder.path().join("index.json")).unwrap()).unwrap();
    assert_eq!(layout["manifests"][0]["digest"], digest.as_str());

    let registry = Registry::start(folder.path(), Access::Anonymous).unwrap();
    let index = json(&digest);
    for described in index["manifests"].as_array().unwrap() {
        let named = described["digest"].as_str().unwrap();
        let manifest = json(named);
        for part in [&manifest["config"], &manifest["layers"][0]] {
            let named = part["digest"].as_str().unwrap();
            assert_eq!(registry.push_blob("quality-officer", &blob(named)).unwrap(), named);
        }
        // The bytes are those whose digest the index has.
        assert_eq!(
            registry.push_manifest("quality-officer", named, &manifest).unwrap(),
            named
        );
    }
    assert_eq!(
        registry.push_manifest("quality-officer", "0.1.0", &index).unwrap(),
        digest
    );

    let image = format!("{}/quality-officer@{digest}", registry.address());
    let check = |platform: &str| {
        quality_officer::client::install_crypto();
        let settings = RegistrySettings {
            url: Some(registry.url()),
            platform: Some(platform.to_owned()),
            ..RegistrySettings::default()
        };
        let client = Client::new(&registry.address(), &settings).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(client.check(&Reference::parse(&image).unwrap()))
    };
    assert_eq!(check("linux/amd64").unwrap(), 1);
    assert_eq!(check("linux/arm64").unwrap(), 1);
    assert_eq!(check("linux/s390x").unwrap_err().reason(), "PlatformMissing");
}
