//! The image that scripts/image assembles is what a registry takes and what the operator's own client finds whole; the
//! Dockerfile, which no container engine builds here, says the same.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use bed::registry::{Access, Registry};
use quality_sources::{
    oci_registry::{Reference, Registry as Client},
    settings::RegistrySettings,
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
        let program = format!(
            "{architecture}={}",
            workload::harness::program("crdgen").unwrap().display()
        );
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
        quality_sources::tls::install_crypto();
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

/// A Dockerfile's instructions: the word and the rest, continued lines joined, without comments.
fn instructions(text: &str) -> Vec<(String, String)> {
    let text = text.replace("\\\n", " ");
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let split = lines.map(|line| line.split_once(' ').unwrap());
    split
        .map(|(word, rest)| (word.to_owned(), rest.trim().to_owned()))
        .collect()
}

#[test]
fn the_dockerfile_makes_the_same_image_from_what_is_here() {
    let text = std::fs::read_to_string(tools::project().join("Dockerfile")).unwrap();
    let all = instructions(&text);
    let stages: Vec<&String> = all
        .iter()
        .filter(|(word, _)| word == "FROM")
        .map(|(_, rest)| rest)
        .collect();
    let toolchain = std::fs::read_to_string(tools::project().join("rust-toolchain.toml")).unwrap();
    let channel = toolchain
        .lines()
        .find_map(|line| line.strip_prefix("channel = "))
        .unwrap();
    let builder = format!("docker.io/library/rust:{}-alpine AS build", channel.trim_matches('"'));
    assert_eq!(stages, [&builder, "scratch"]);

    // What the building stage runs is here, and is there in what is copied.
    let (building, shipped) = all.split_at(all.iter().rposition(|(word, _)| word == "FROM").unwrap());
    let scripts: Vec<&str> = building
        .iter()
        .filter(|(word, _)| word == "RUN")
        .flat_map(|(_, rest)| rest.split_whitespace())
        .filter(|word| word.starts_with("scripts/"))
        .collect();
    assert_eq!(scripts, ["scripts/static-build", "scripts/notices"]);
    let left_out = std::fs::read_to_string(tools::project().join(".dockerignore")).unwrap();
    for script in scripts {
        assert!(tools::project().join(script).is_file(), "{script}");
        assert!(!left_out.lines().any(|line| script.starts_with(line)), "{left_out}");
    }

    // Each file of the image, and how it is started, as scripts/image has them.
    let folder = tempfile::tempdir().unwrap();
    let (digest, archive) = assemble(folder.path(), &["amd64"], "image.tar");
    let mut command = Command::new("tar");
    tools::outcome(command.arg("-xf").arg(archive).arg("-C").arg(folder.path())).unwrap();
    let path = |digest: &Value| {
        folder
            .path()
            .join("blobs")
            .join(digest.as_str().unwrap().replace(':', "/"))
    };
    let json = |digest: &Value| serde_json::from_slice::<Value>(&std::fs::read(path(digest)).unwrap()).unwrap();
    let manifest = json(&json(&digest.into())["manifests"][0]["digest"]);
    let config = json(&manifest["config"]["digest"])["config"].clone();
    let said = |word: &str| {
        let found: Vec<&str> = shipped
            .iter()
            .filter(|(known, _)| known == word)
            .map(|(_, rest)| rest.as_str())
            .collect();
        assert_eq!(found.len(), 1, "{word}");
        found[0]
    };
    assert_eq!(said("USER"), config["User"].as_str().unwrap());
    let words = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(words(said("ENTRYPOINT")), config["Entrypoint"]);
    assert_eq!(words(said("CMD")), config["Cmd"]);
    let mut copied: Vec<&str> = shipped
        .iter()
        .filter(|(word, _)| word == "COPY")
        .map(|(_, rest)| rest.rsplit(' ').next().unwrap())
        .collect();
    copied.sort_unstable();
    let listed = tools::outcome(
        Command::new("tar")
            .arg("-tzf")
            .arg(path(&manifest["layers"][0]["digest"])),
    )
    .unwrap();
    let mut packed: Vec<String> = listed
        .lines()
        .filter(|name| !name.ends_with('/'))
        .map(|name| format!("/{name}"))
        .collect();
    packed.sort_unstable();
    assert_eq!(copied, packed);
    let known = ["FROM", "COPY", "USER", "ENTRYPOINT", "CMD"];
    assert!(
        shipped.iter().all(|(word, _)| known.contains(&word.as_str())),
        "{shipped:?}"
    );
}
