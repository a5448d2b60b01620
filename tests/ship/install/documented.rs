//! What the documents say is typed, at a shell.

use std::time::{Duration, Instant};

use bed::part::HELM;
use serde_json::json;

use super::{Cluster, TIMEOUT};
use crate::{commands, tools};

/// Types the commands of the documents at a shell.
struct Shell<'a> {
    cluster: &'a Cluster,
    path: std::ffi::OsString,
}

impl<'a> Shell<'a> {
    fn on(cluster: &'a Cluster) -> Self {
        let folder = cluster.folder.path();
        std::os::unix::fs::symlink(tools::program(&HELM), folder.join("helm")).unwrap();
        let own = [folder.to_owned(), cluster.endpoints.programs.clone()];
        let inherited = std::env::var_os("PATH").unwrap();
        let path = std::env::join_paths(own.into_iter().chain(std::env::split_paths(&inherited))).unwrap();
        Self { cluster, path }
    }

    fn types(&self, command: &str) {
        // The gate that was just removed may be asked for a moment longer, as the documents say.
        let patience = if command.starts_with("kubectl delete") { 30 } else { 0 };
        let started = Instant::now();
        loop {
            let mut shell = std::process::Command::new("sh");
            shell.args(["-c", command]).current_dir(tools::project());
            shell.envs(self.cluster.endpoints.environment()).env("PATH", &self.path);
            let Err(said) = tools::outcome(&mut shell) else {
                break;
            };
            assert!(started.elapsed().as_secs() < patience, "{command}: {said}");
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// A block of a document, which has this many commands.
    fn types_block(&self, document: &str, heading: &str, number: usize, expected: usize) {
        let commands = commands::of(document, heading, number);
        assert_eq!(commands.len(), expected, "{commands:?}");
        for command in commands {
            self.types(&command);
        }
    }
}

#[test]
fn the_commands_of_the_documents_install_upgrade_and_remove_it() {
    let cluster = Cluster::new();
    cluster.apply(
        "default",
        &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}),
    );
    let shell = Shell::on(&cluster);
    shell.types_block("README.md", "Guard your own Deployment", 1, 3);
    assert_eq!(cluster.names(&["qualitypolicy", "-n", "shop"]).len(), 1);
    shell.types("kubectl create -n shop -f examples/drill.yaml");
    shell.types_block("docs/INSTALL.md", "Upgrade and uninstall", 0, 3);
    assert_eq!(cluster.of_the_release(), Vec::<String>::new());
    shell.types_block("docs/INSTALL.md", "Helm", 0, 1);
    shell.types_block("docs/INSTALL.md", "Upgrade and uninstall", 0, 3);
    assert_eq!(cluster.of_the_release(), Vec::<String>::new());
    cluster.kubectl(&["delete", "namespace", "shop", TIMEOUT]);
}

#[test]
fn the_commands_of_the_documents_apply_and_remove_the_manifests() {
    let cluster = Cluster::new();
    let shell = Shell::on(&cluster);
    shell.types_block("docs/INSTALL.md", "Helm", 1, 1);
    shell.types_block("docs/GATE.md", "The gate", 0, 3);
    shell.types_block("docs/INSTALL.md", "kustomize", 0, 1);
    shell.types_block("docs/INSTALL.md", "kustomize", 1, 1);
    shell.types("kubectl rollout restart deployment quality-officer -n quality-officer");
    shell.types("kubectl rollout status deployment quality-officer -n quality-officer --timeout=60s");
    shell.types("kubectl apply --server-side -f deploy/admission/");
    shell.types("kubectl delete -f deploy/admission/");
    shell.types("kubectl delete --ignore-not-found -k examples/kustomize");
    cluster.until("nothing is left", |cluster| cluster.of_the_release().is_empty());
}
