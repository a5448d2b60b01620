//! Installs what an administrator would: the CustomResourceDefinitions, the operator's rights, and the gate's admission
//! policies.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bed::Endpoints;

use crate::StageError;

/// The project's folder.
pub fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Applies CRDs, RBAC and the admission policies, and waits until the API server serves the kinds and asks the policies.
/// A second call changes nothing.
pub fn install(endpoints: &Endpoints) -> Result<(), StageError> {
    let crds = project().join("crds").display().to_string();
    let of_the_operator = project().join("deploy/cluster-wide");
    let namespace = of_the_operator.join("namespace.yaml").display().to_string();
    let rights = of_the_operator.join("rbac.yaml").display().to_string();
    endpoints.kubectl(["apply", "--server-side", "-f", &crds])?;
    endpoints.kubectl(["wait", "--for=condition=Established", "--timeout=30s", "-f", &crds])?;
    endpoints.kubectl(["apply", "--server-side", "-f", &namespace, "-f", &rights])?;
    install_gate(endpoints)
}

/// The folder of the gate's admission policies.
pub fn gate() -> PathBuf {
    project().join("deploy/admission")
}

/// Applies the gate's admission policies, after what they read.
pub fn install_gate(endpoints: &Endpoints) -> Result<(), StageError> {
    endpoints.kubectl(["apply", "--server-side", "-f", &gate().display().to_string()])?;
    let operator = "--as=system:serviceaccount:quality-officer:quality-officer";
    let make = |more: &[&str]| {
        let probe = [
            "create",
            "deployment",
            "probe",
            "--image=probe",
            "--dry-run=server",
            "-n",
            "quality-officer",
        ];
        endpoints.kubectl(probe.iter().chain(more).copied())
    };
    // Those with parameters are asked first; until they know their parameters' kind they refuse everything.
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let refused = make(&[operator]).err().map(|error| error.to_string());
        let is_asked = refused.is_some_and(|words| words.contains("but the shadows of recovery drills"));
        if is_asked && make(&[]).is_ok() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(StageError::Unexpected(
                "the admission policies are not asked within 60 s".to_owned(),
            ));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A kubeconfig with the operator's own ServiceAccount and nothing else.
pub fn service_account_kubeconfig(endpoints: &Endpoints, folder: &Path) -> Result<PathBuf, StageError> {
    account_kubeconfig(endpoints, folder, "quality-officer", "quality-officer")
}

/// A kubeconfig with this ServiceAccount and nothing else.
pub fn account_kubeconfig(
    endpoints: &Endpoints,
    folder: &Path,
    namespace: &str,
    account: &str,
) -> Result<PathBuf, StageError> {
    let output = endpoints.kubectl(["create", "token", account, "-n", namespace, "--duration", "8h"])?;
    let token = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let authority = endpoints
        .certificate_authority
        .as_ref()
        .map(|path| path.display().to_string());
    let cluster = match authority {
        Some(path) => serde_json::json!({"server": endpoints.api_server, "certificate-authority": path}),
        None => serde_json::json!({"server": endpoints.api_server}),
    };
    let config = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": account,
        "clusters": [{"name": "local", "cluster": cluster}],
        "users": [{"name": account, "user": {"token": token}}],
        "contexts": [{"name": account, "context": {"cluster": "local", "user": account, "namespace": namespace}}],
    });
    let path = folder.join(format!("{account}.kubeconfig"));
    std::fs::write(&path, config.to_string()).map_err(StageError::io(format!("write {}", path.display())))?;
    Ok(path)
}
