//! Sources of Go modules, for the data that they hold: Kubernetes' API descriptions, definitions of other operators.
//! Go keeps them in its own module cache.

use std::path::PathBuf;
use std::process::Command;

/// Why a module's sources are not there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no Go.
    #[error("`go` could not be started")]
    Start(#[source] std::io::Error),
    /// Go could not download it.
    #[error("go mod download {module}: {message}")]
    Download {
        /// The module with its version.
        module: String,
        /// What Go said.
        message: String,
    },
}

/// The folder with the sources of `module@version`, downloaded if they are not there yet.
pub fn sources(module: &str) -> Result<PathBuf, Error> {
    let output = Command::new("go")
        .args(["mod", "download", "-json", module])
        .env("GOWORK", "off")
        .env("GOFLAGS", "-mod=mod")
        // Outside of any module: what is asked for is no dependency of one.
        .current_dir(std::env::temp_dir())
        .output()
        .map_err(Error::Start)?;
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    match said["Dir"].as_str() {
        Some(folder) if output.status.success() => Ok(PathBuf::from(folder)),
        _ => Err(Error::Download {
            module: module.to_owned(),
            message: said["Error"].as_str().map_or_else(
                || String::from_utf8_lossy(&output.stderr).trim().to_owned(),
                ToOwned::to_owned,
            ),
        }),
    }
}
