//! Installs what an administrator would: the CustomResourceDefinitions and the operator's rights.

use std::path::{Path, PathBuf};

use bed::Endpoints;

use crate::StageError;

/// The project's folder.
pub fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Applies CRDs and RBAC and waits until the API server serves the kinds. A second call changes nothing.
pub fn install(endpoints: &Endpoints) -> Result<(), StageError> {
    let crds = project().join("crds").display().to_string();
    let rights = project().join("deploy/rbac.yaml").display().to_string();
    endpoints.kubectl(["apply", "--server-side", "-f", &crds])?;
    endpoints.kubectl(["wait", "--for=condition=Established", "--timeout=30s", "-f", &crds])?;
    endpoints.kubectl(["apply", "--server-side", "-f", &rights])?;
    Ok(())
}

/// A kubeconfig with the operator's own ServiceAccount and nothing else.
pub fn service_account_kubeconfig(endpoints: &Endpoints, folder: &Path) -> Result<PathBuf, StageError> {
    let output = endpoints.kubectl([
        "create",
        "token",
        "quality-officer",
        "-n",
        "quality-officer",
        "--duration",
        "8h",
    ])?;
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
        "apiVersion": "v1", "kind": "Config", "current-context": "operator",
        "clusters": [{"name": "local", "cluster": cluster}],
        "users": [{"name": "quality-officer", "user": {"token": token}}],
        "contexts": [{"name": "operator", "context": {"cluster": "local", "user": "quality-officer", "namespace": "quality-officer"}}],
    });
    let path = folder.join("operator.kubeconfig");
    std::fs::write(&path, config.to_string()).map_err(StageError::io(format!("write {}", path.display())))?;
    Ok(path)
}
