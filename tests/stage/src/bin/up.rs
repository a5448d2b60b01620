//! A cluster to try the operator on, without one and without containers: a node whose pods are processes, a namespace
//! `shop` under load, Prometheus, helm. Nothing is installed: that is what one tries. Run by `make up`.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::{
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use bed::{Endpoints, go_build, interrupt::Interrupt, part::HELM};
use stage::{Node, Space, StageError};
use workload::images::ImageEntry;

const NAMESPACE: &str = "shop";
/// Requests per second, all pods of the Deployment `ranker` together.
const RATE: f64 = 300.0;
/// A load generator ends by itself after an hour.
const LOAD: Duration = Duration::from_mins(55);

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("up: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), StageError> {
    let endpoints = Endpoints::from_env()?;
    let space = Space::new(&endpoints, NAMESPACE).await?;
    let programs = programs(&endpoints)?;
    let node = Node::start(&space, "agent-0", &endpoints.prometheus_targets)?;
    let mut images = workload::images();
    let image = concat!("registry.example/quality-officer:", env!("CARGO_PKG_VERSION"));
    let container = container(&endpoints)?;
    images
        .0
        .push(ImageEntry::new(image, container.display().to_string(), &[]));
    node.set_images(&images)?;
    tell(&endpoints, &programs);
    loop {
        let load = node.load(&space, RATE)?;
        let told_to_stop = tokio::time::timeout(LOAD, workload::process::shutdown_signal())
            .await
            .is_ok();
        drop(load);
        if told_to_stop {
            return Ok(());
        }
    }
}

/// A folder with the programs that a person needs beside kubectl.
fn programs(endpoints: &Endpoints) -> Result<PathBuf, StageError> {
    let folder = endpoints.work_folder.join("path");
    std::fs::create_dir_all(&folder).map_err(StageError::io("make the folder of programs"))?;
    let helm = go_build::program(&HELM, &Interrupt::default());
    let helm = helm.map_err(|error| StageError::Unexpected(error.to_string()))?;
    symlink(helm, folder.join("helm")).map_err(StageError::io("link helm"))?;
    for name in ["kubectl-quality", "quality-officer"] {
        let program = workload::harness::program(name)?;
        symlink(program, folder.join(name)).map_err(StageError::io(format!("link {name}")))?;
    }
    Ok(folder)
}

/// What the node runs for the operator's image.
fn container(endpoints: &Endpoints) -> Result<PathBuf, StageError> {
    let work = endpoints.work_folder.join("operators");
    std::fs::create_dir_all(&work).map_err(StageError::io("make the folder of the operator's pods"))?;
    let export = |name: &str, value: &Path| format!("export {name}='{}'\n", value.display());
    let script = [
        "#!/bin/sh\n",
        &export("WORK", &work),
        &export("OFFICER", &workload::harness::program("quality-officer")?),
        &export("KUBECONFIG", &endpoints.kubeconfig),
        // Without a home kubectl would keep its cache where it is called.
        &export("KUBECACHEDIR", &work.join("cache")),
        &format!("export PATH='{}':\"$PATH\"\n", endpoints.programs.display()),
        include_str!("../operator-pod.sh"),
    ]
    .concat();
    let path = work.join("operator");
    std::fs::write(&path, script).map_err(StageError::io("write the operator's container"))?;
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&path, executable).map_err(StageError::io("make it executable"))?;
    Ok(path)
}

/// What a person pastes into another terminal.
fn tell(endpoints: &Endpoints, programs: &Path) {
    for (name, value) in endpoints.environment() {
        println!("export {name}={}", value.display());
    }
    println!(
        "export PATH={}:{}:$PATH",
        programs.display(),
        endpoints.programs.display()
    );
    println!("export PROMETHEUS={}", endpoints.prometheus);
    println!("# Paste these lines into another terminal. Ctrl-C here stops all of it.");
}
