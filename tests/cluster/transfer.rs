//! Checkpoints leave a cluster as a file and come back, all of them or none.

use std::{
    path::PathBuf,
    process::{Command, Output},
    time::Duration,
};

use k8s_openapi::api::core::v1::ResourceQuota;
use quality_api::RollbackCheckpoint;
use serde_json::json;
use stage::{Space, StageError};

use crate::scene::{bad, checkpoint, good, space};

fn officer(space: &Space, arguments: &[&str]) -> Output {
    let program = workload::harness::program("quality-officer").unwrap();
    Command::new(program)
        .arg("checkpoints")
        .args(arguments)
        .env("KUBECONFIG", &space.endpoints.kubeconfig)
        .output()
        .unwrap()
}

fn succeeds(space: &Space, arguments: &[&str]) -> String {
    let output = officer(space, arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn fails(space: &Space, arguments: &[&str]) -> String {
    let output = officer(space, arguments);
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn file(space: &Space, text: &str) -> PathBuf {
    std::fs::create_dir_all(space.folder()).unwrap();
    let path = space.folder().join("checkpoint_registry.yaml");
    std::fs::write(&path, text).unwrap();
    path
}

async fn names(space: &Space) -> Vec<String> {
    let all = space.all::<RollbackCheckpoint>().await.unwrap();
    let mut names: Vec<String> = all.into_iter().filter_map(|one| one.metadata.name).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_exported_is_imported_whole_or_not_at_all() {
    let (from, to) = (space("export").await, space("import").await);
    from.apply(&checkpoint("a", &good())).unwrap();
    from.apply(&checkpoint("b", &bad())).unwrap();
    let text = succeeds(&from, &["export", "-n", "export"]);
    assert_eq!(
        succeeds(&from, &["export", "-n", "export", "--target", "other"])
            .matches("name:")
            .count(),
        0
    );
    let path = file(&to, &text);
    let import = ["import", "-n", "import", "-f", path.to_str().unwrap()];
    let dry = [&import[..], &["--dry-run"]].concat();
    assert_eq!(
        succeeds(&to, &dry),
        "rollbackcheckpoint/a would be created\nrollbackcheckpoint/b would be created\n"
    );
    assert_eq!(names(&to).await, Vec::<String>::new());

    // One that the file's format refuses, one that the API server refuses: nothing is written of either file.
    file(&to, &text.replacen(&bad(), "registry.example/ranker:v1", 1));
    let said = fails(&to, &import);
    assert!(
        said.contains("checkpoint b") && said.contains("a tag can move"),
        "{said}"
    );
    let long = "x".repeat(600);
    file(&to, &text.replacen(&bad(), &bad().replace("ranker", &long), 1));
    let said = fails(&to, &import);
    assert!(said.contains("nothing was imported: checkpoint b is refused"), "{said}");
    assert_eq!(names(&to).await, Vec::<String>::new());

    file(&to, &text);
    assert_eq!(
        succeeds(&to, &import),
        "rollbackcheckpoint/a created\nrollbackcheckpoint/b created\n"
    );
    assert_eq!(
        succeeds(&to, &import),
        "rollbackcheckpoint/a unchanged\nrollbackcheckpoint/b unchanged\n"
    );
    assert_eq!(succeeds(&to, &["export", "-n", "import"]), text);

    // A name that is taken by another checkpoint, though the other one in the file is new.
    let more = text.replacen(&bad(), &good(), 1).replacen("name: a", "name: c", 1);
    file(&to, &more);
    let said = fails(&to, &import);
    assert!(said.contains("there is another checkpoint b already"), "{said}");
    assert_eq!(names(&to).await, ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_whose_second_write_fails_takes_the_first_one_back() {
    let (from, to) = (space("export-two").await, space("import-one").await);
    from.apply(&checkpoint("a", &good())).unwrap();
    from.apply(&checkpoint("b", &bad())).unwrap();
    let path = file(&to, &succeeds(&from, &["export", "-n", "export-two"]));
    // Each of them fits, so that nothing is seen before both are written. Quotas of a kind that was just installed are
    // counted only once the controller knows it, and looked at again when they change.
    let resource = "count/rollbackcheckpoints.quality-officer.dev";
    let counted = |quota: &ResourceQuota| {
        let used = quota.status.as_ref().and_then(|status| status.used.as_ref());
        used.is_some_and(|used| used.contains_key(resource))
    };
    let mut found = Err(StageError::Unexpected("no quota".to_owned()));
    for pods in 100..130 {
        let quota = json!({
            "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "one"},
            "spec": {"hard": {resource: "1", "pods": pods.to_string()}},
        });
        to.apply(&quota.to_string()).unwrap();
        found = to
            .wait("the quota is counted", "one", Duration::from_secs(5), counted)
            .await;
        if found.is_ok() {
            break;
        }
    }
    found.unwrap();
    let said = fails(&to, &["import", "-n", "import-one", "-f", path.to_str().unwrap()]);
    assert!(
        said.contains("nothing was imported: checkpoint b could not be written") && said.contains("exceeded quota"),
        "{said}"
    );
    assert_eq!(names(&to).await, Vec::<String>::new());
}
