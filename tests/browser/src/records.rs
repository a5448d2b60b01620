//! Records of a report page from a folder: `reports.json`, `incidents.json`, `drills.json`, `checkpoints.json`, each a
//! list; a file that is not there is an empty one.

use std::path::Path;

use quality_render::html_report::Records;
use serde::de::DeserializeOwned;

use crate::BrowserError;

/// The first report of the folder with everything else in it.
pub fn read(folder: &Path) -> Result<Records, BrowserError> {
    let mut reports = list(&folder.join("reports.json"))?;
    if reports.is_empty() {
        return Err(BrowserError::Answer(format!("{} holds no report", folder.display())));
    }
    Ok(Records {
        report: reports.swap_remove(0),
        incidents: list(&folder.join("incidents.json"))?,
        drills: list(&folder.join("drills.json"))?,
        checkpoints: list(&folder.join("checkpoints.json"))?,
    })
}

fn list<K: DeserializeOwned>(file: &Path) -> Result<Vec<K>, BrowserError> {
    if !file.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(file).map_err(BrowserError::io(format!("read {}", file.display())))?;
    serde_json::from_str(&text).map_err(|source| BrowserError::Records {
        file: file.display().to_string(),
        source,
    })
}
