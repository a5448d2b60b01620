//! From a fresh clone with nothing but README.md: what it says is typed, on the cluster of `make up`, with the operator as
//! its own pod runs it.

use std::{
    io::{BufRead, BufReader},
    os::unix::fs::symlink,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{commands, tools};

/// A person with two terminals: one where `make up` runs, and one into which its lines were pasted.
struct Newcomer {
    up: Child,
    pasted: String,
    folder: tempfile::TempDir,
}

impl Newcomer {
    fn begins() -> Self {
        let makefile = std::fs::read_to_string(tools::project().join("Makefile")).unwrap();
        assert!(makefile.contains("\t@$(BED) run --no-kwok -- target/debug/up\n"));
        let program = |name| workload::harness::program(name).unwrap();
        let mut up = workload::process::start(&program("bed").display().to_string(), |command| {
            command.args(["run", "--no-kwok", "--"]).arg(program("up"));
            command.stdin(Stdio::null()).stdout(Stdio::piped());
        })
        .unwrap();
        let printed = BufReader::new(up.stdout.take().unwrap()).lines().map(Result::unwrap);
        let lines: Vec<String> = printed.take_while(|line| !line.starts_with('#')).collect();
        assert!(
            lines.iter().any(|line| line.starts_with("export PROMETHEUS=")),
            "{lines:?}"
        );
        // The clone: what is written into it by the way is to be nobody's.
        let folder = tempfile::tempdir().unwrap();
        for name in ["charts", "crds", "examples"] {
            symlink(tools::project().join(name), folder.path().join(name)).unwrap();
        }
        Self {
            up,
            pasted: lines.join("\n"),
            folder,
        }
    }

    fn tries(&self, command: &str) -> Result<String, String> {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{}\n{command}", self.pasted)]);
        tools::outcome(shell.current_dir(self.folder.path()))
    }

    fn types(&self, command: &str) -> String {
        self.tries(command).unwrap_or_else(|said| panic!("{command}: {said}"))
    }

    /// As [`Newcomer::types`], again and again until it is done.
    fn repeats(&self, command: &str) -> String {
        let started = Instant::now();
        loop {
            match self.tries(command) {
                Ok(said) => return said,
                Err(said) => assert!(started.elapsed() < Duration::from_secs(60), "{command}: {said}"),
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        workload::process::stop(&mut self.up, Duration::from_secs(30));
    }
}

#[test]
fn with_the_readme_alone_it_is_installed_guards_a_deployment_of_ones_own_and_is_removed() {
    let newcomer = Newcomer::begins();
    let typed = commands::of("README.md", "Guard your own Deployment", 0);
    let policy: Vec<&String> = typed
        .iter()
        .filter(|command| command.contains("kind: QualityPolicy"))
        .collect();
    assert_eq!(policy[0].lines().count() - 2, 10, "a policy of ten lines");
    for command in &typed {
        if command.starts_with("helm install") {
            let said = newcomer
                .tries(&command.replace("image.repository", "image.repo"))
                .unwrap_err();
            assert!(said.contains("image") && said.contains("'repo'"), "{said}");
        } else if command.starts_with("kubectl wait") {
            names_a_source_that_is_not_there(&newcomer);
        } else if command.starts_with("helm uninstall") {
            on_call(&newcomer);
        }
        let said = if command.starts_with("kubectl delete") {
            newcomer.repeats(command)
        } else {
            newcomer.types(command)
        };
        if command.starts_with("helm install") {
            takes_the_policy_of_the_notes(&newcomer, &said);
        } else if command.starts_with("kubectl get qualityreports") {
            assert!(said.contains("ranker"), "{said}");
        } else if command.starts_with("kubectl quality explain") {
            assert!(said.contains("ErrorRate") && said.contains("Latency"), "{said}");
        }
    }
    let left = "kubectl api-resources --verbs=list -o name | grep -v events | paste -sd, | \
                xargs -I KINDS kubectl get KINDS -A -l app.kubernetes.io/instance=quality-officer -o name";
    assert_eq!(newcomer.repeats(left), "");
    let runs = "kubectl get deployment ranker -n shop \
                -o jsonpath='{.spec.template.spec.containers[0].image} {.status.readyReplicas}'";
    assert_eq!(newcomer.types(runs), "registry.example/ranker:v2 3");
}

/// Helm prints one as well.
fn takes_the_policy_of_the_notes(newcomer: &Newcomer, notes: &str) {
    let policy = notes.split("First policy").nth(1).unwrap_or_else(|| panic!("{notes}"));
    let lines: Vec<&str> = policy
        .lines()
        .skip(1)
        .map_while(|line| line.strip_prefix("  "))
        .collect();
    std::fs::write(newcomer.folder.path().join("notes.yaml"), lines.join("\n")).unwrap();
    let said = newcomer.types("kubectl apply --dry-run=server -f notes.yaml");
    assert!(
        said.contains("qualitypolicy.quality-officer.dev/ranker created"),
        "{said}"
    );
}

fn names_a_source_that_is_not_there(newcomer: &Newcomer) {
    let named = |source: &str| {
        let patch = format!(r#"{{"spec": {{"metrics": {{"source": "{source}"}}}}}}"#);
        newcomer.types(&format!(
            "kubectl patch qualitypolicy ranker -n shop --type merge -p '{patch}'"
        ));
    };
    named("prometheus");
    newcomer.types("kubectl wait -n shop --for=condition=Ready=False qualitypolicy/ranker --timeout=60s");
    let said = newcomer.types("kubectl quality explain ranker -n shop");
    assert!(said.contains("SourceNotFound") && said.contains("prometheus"), "{said}");
    named("default");
}

/// What the documents tell those on call to type.
fn on_call(newcomer: &Newcomer) {
    newcomer.types("kubectl config set-context --current --namespace=shop");
    for command in commands::of("docs/USE.md", "The command line", 0) {
        let done = newcomer.tries(&command);
        if command.starts_with("kubectl quality release") {
            let said = done.unwrap_err();
            assert!(said.contains("is not in quarantine"), "{said}");
        } else if command.starts_with("kubectl quality rollback") {
            let said = done.unwrap_err();
            assert!(said.contains("checkpoint"), "{said}");
        } else {
            done.unwrap_or_else(|said| panic!("{command}: {said}"));
        }
    }
    for command in commands::of("docs/REPORT.md", "The report", 0) {
        newcomer.types(&command);
    }
    for command in [
        "kubectl describe qualitypolicy ranker",
        "kubectl explain qualityreport.status",
        "kubectl explain qualitypolicy.spec --recursive",
        "kubectl get qualitypolicies",
        "kubectl get qualityreports -A",
        "kubectl get qualityreport ranker -o yaml",
        "kubectl get qualityreportsnapshots",
        "kubectl get qualityincidents -n shop",
        "kubectl get rollbackcheckpoints",
        "kubectl get recoverydrills",
        "kubectl quality pause ranker",
        "kubectl wait --for=condition=Ready=False qualitypolicy/ranker --timeout=60s",
        "kubectl quality resume ranker",
        "kubectl wait --for=condition=Ready qualitypolicy/ranker --timeout=60s",
        "kubectl rollout pause deployment/ranker",
        "kubectl set image deployment/ranker ranker=registry.example/ranker:v2",
        "kubectl wait --for=condition=Ready=False qualitypolicy/ranker --timeout=60s",
        "kubectl rollout resume deployment/ranker",
        "kubectl rollout status deployment/ranker",
        "kubectl wait --for=condition=Ready qualitypolicy/ranker --timeout=60s",
        "kubectl quality drill ranker",
        "quality-officer checkpoints export -n shop > checkpoint_registry.yaml",
        r#"kubectl patch qualitypolicy ranker --type merge -p '{"spec": {"gate": {"mode": "Off"}}}'"#,
        "kubectl delete validatingadmissionpolicybindings quality-officer-hold quality-officer-quarantine",
        "kubectl scale deployment quality-officer -n quality-officer --replicas=0",
        "kubectl wait --for=delete pod -l app.kubernetes.io/name=quality-officer -n quality-officer --timeout=60s",
    ] {
        newcomer.types(command);
    }
    let version = newcomer.types("quality-officer --version");
    assert_eq!(version.trim(), concat!("quality-officer ", env!("CARGO_PKG_VERSION")));
    newcomer.types("kubectl config set-context --current --namespace=default");
}
