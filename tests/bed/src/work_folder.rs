//! The temporary folder of one bed, and the sweep of those whose owner was killed.
//!
//! A bed holds a lock on the file `owner` in its folder for as long as it lives. The kernel drops the lock with the
//! process, so a lock that can be taken marks a folder that nobody owns any more.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

const PREFIX: &str = "qo-bed-";
/// Marks a folder that the user wants to keep.
const KEPT: &str = "kept";
/// A folder without an `owner` is one that is just being made, unless it is older than this.
const NASCENT: Duration = Duration::from_hours(1);

/// The folder could not be made.
#[derive(Debug, thiserror::Error)]
#[error("could not {action} {}", path.display())]
pub struct Error {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// A temporary folder that is removed when this is dropped.
#[derive(Debug)]
pub struct WorkFolder {
    folder: TempDir,
    kept: bool,
    _owner: File,
}

impl WorkFolder {
    /// Makes a folder under the system's temporary folder, and removes those left behind by killed beds.
    pub fn create() -> Result<Self, Error> {
        Self::create_in(&std::env::temp_dir())
    }

    fn create_in(parent: &Path) -> Result<Self, Error> {
        sweep(parent);
        let failed = |action, path: &Path| {
            let path = path.to_owned();
            move |source| Error { action, path, source }
        };
        let folder = tempfile::Builder::new()
            .prefix(&format!("{PREFIX}{}-", std::process::id()))
            .tempdir_in(parent)
            .map_err(failed("create a folder in", parent))?;
        // Locked under another name first: a sweep must never see an `owner` without its lock.
        let nascent = folder.path().join("owner.new");
        let owner = File::create(&nascent).map_err(failed("create", &nascent))?;
        owner.lock().map_err(failed("lock", &nascent))?;
        let path = folder.path().join("owner");
        std::fs::rename(&nascent, &path).map_err(failed("rename", &nascent))?;
        Ok(Self {
            folder,
            kept: false,
            _owner: owner,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Makes a folder in it.
    pub fn folder(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.path().join(name);
        match std::fs::create_dir_all(&path) {
            Ok(()) => Ok(path),
            Err(source) => Err(Error {
                action: "create",
                path,
                source,
            }),
        }
    }

    /// Writes a file in it, readable by this user only: some hold keys.
    pub fn write(&self, name: &str, contents: &str) -> Result<PathBuf, Error> {
        use std::io::Write;
        use std::os::unix::fs::OpenOptionsExt;
        let path = self.path().join(name);
        let written = File::options()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(contents.as_bytes()));
        match written {
            Ok(()) => Ok(path),
            Err(source) => Err(Error {
                action: "write",
                path,
                source,
            }),
        }
    }

    /// Leaves the folder where it is when this is dropped, and later sweeps as well.
    pub fn keep(&mut self) -> Result<(), Error> {
        self.folder.disable_cleanup(true);
        self.kept = true;
        self.write(KEPT, "").map(drop)
    }

    /// Removes the folder now, unless it is to be kept, and says when that fails.
    pub fn remove(self) -> Result<(), Error> {
        if self.kept {
            return Ok(());
        }
        let path = self.path().to_owned();
        let action = "remove";
        self.folder.close().map_err(|source| Error { action, path, source })
    }
}

/// Removes the folders of beds whose process is gone. Whatever cannot be read or removed stays: it may belong to
/// another user.
fn sweep(parent: &Path) {
    let Ok(entries) = std::fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) && is_stale(&entry.path()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn is_stale(folder: &Path) -> bool {
    if folder.join(KEPT).exists() {
        return false;
    }
    match File::open(folder.join("owner")) {
        Ok(owner) => owner.try_lock().is_ok(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let modified = std::fs::metadata(folder).and_then(|folder| folder.modified());
            modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > NASCENT))
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_whose_owner_is_gone_is_swept_and_others_stay() {
        let parent = tempfile::tempdir().unwrap();
        let stale = parent.path().join("qo-bed-1-stale");
        std::fs::create_dir(&stale).unwrap();
        File::create(stale.join("owner")).unwrap();
        let foreign = parent.path().join("something-else");
        std::fs::create_dir(&foreign).unwrap();
        let nascent = parent.path().join("qo-bed-2-nascent");
        std::fs::create_dir(&nascent).unwrap();
        let mut kept = WorkFolder::create_in(parent.path()).unwrap();
        kept.keep().unwrap();
        let kept = kept.path().to_owned();

        let first = WorkFolder::create_in(parent.path()).unwrap();
        assert!(!stale.exists());
        assert!(foreign.exists() && nascent.exists() && kept.exists());

        let second = WorkFolder::create_in(parent.path()).unwrap();
        assert!(first.path().exists() && second.path().exists());
        let gone = first.path().to_owned();
        drop(first);
        assert!(!gone.exists() && second.path().exists());
    }

    #[test]
    fn files_with_keys_are_readable_by_their_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let parent = tempfile::tempdir().unwrap();
        let folder = WorkFolder::create_in(parent.path()).unwrap();
        let path = folder.write("sa.key", "secret").unwrap();
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
