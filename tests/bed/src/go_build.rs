//! Builds the parts with Go, once: what was built lies in the user's cache folder, keyed by version and sources.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use sha2::{Digest, Sha256};

use crate::cache::{self, Label};
use crate::interrupt::Interrupt;
use crate::message::say;
use crate::part::{Copied, Part};
use crate::process;

/// Why a part could not be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing can be kept, or the user asked to stop.
    #[error(transparent)]
    Cache(#[from] cache::Error),
    /// There is no Go.
    #[error(
        "`go` was not found on the PATH: {part} is built from source and needs Go {needed} or newer (https://go.dev/dl)"
    )]
    GoMissing {
        /// The part to build.
        part: &'static str,
        /// The oldest Go that builds it.
        needed: String,
    },
    /// Go is older than the part's module asks for.
    #[error("{part} is built from source and needs Go {needed} or newer, but `go` is {found} (https://go.dev/dl)")]
    GoTooOld {
        /// The part to build.
        part: &'static str,
        /// The oldest Go that builds it.
        needed: String,
        /// What Go said of itself.
        found: String,
    },
    /// Go could not build it.
    #[error("could not build {part} {version} (go build in {}):\n{output}", folder.display())]
    Build {
        /// The part.
        part: &'static str,
        /// Its version.
        version: &'static str,
        /// Its module.
        folder: PathBuf,
        /// What Go wrote.
        output: String,
    },
}

/// Where the part's program lies once it is built.
pub fn program_path(part: &Part) -> Result<PathBuf, Error> {
    let folder = format!("{}-{}-{}", part.name, part.version, fingerprint(part)?);
    Ok(cache::folder()?.join(folder).join(part.name))
}

/// The part's program, built if it is not there yet. Two builders of one part take turns.
pub fn program(part: &'static Part, interrupt: &Interrupt) -> Result<PathBuf, Error> {
    let program = program_path(part)?;
    if program.exists() {
        return Ok(program);
    }
    let label = Label {
        name: part.name,
        version: part.version,
    };
    let _turn = cache::turn(label, interrupt)?;
    if program.exists() {
        return Ok(program);
    }
    check_go(part)?;
    let cache = cache::folder()?;
    let target = program.parent().unwrap_or(&cache);
    say(format_args!(
        "{} {} ({}): first build, about {} min; cached afterwards in {}",
        part.name,
        part.version,
        part.contents,
        part.minutes,
        target.display()
    ));
    let started = Instant::now();
    let staging = tempfile::Builder::new()
        .prefix(&format!(".building-{}-", part.name))
        .tempdir_in(&cache)
        .map_err(cache::Error::io("create a folder in", &cache))?;
    build(part, staging.path(), interrupt)?;
    std::fs::rename(staging.path(), target).map_err(cache::Error::io("rename the build to", target))?;
    say(format_args!(
        "{} {}: built in {} s",
        part.name,
        part.version,
        started.elapsed().as_secs()
    ));
    Ok(program)
}

fn build(part: &'static Part, staging: &Path, interrupt: &Interrupt) -> Result<(), Error> {
    let Some(copied) = &part.copied else {
        let mut command = go(&part.module_folder());
        command.arg("build").args(part.build_arguments()).arg("-o");
        command.arg(staging.join(part.name)).arg(part.package);
        return step(part, command, interrupt);
    };
    let source = staging.join("source");
    copy(part, copied, &source, interrupt)?;
    let mut command = go(&source);
    command.arg("build").args(part.build_arguments()).arg("-o");
    command.arg(staging.join(part.name)).arg(part.package);
    step(part, command, interrupt)?;
    std::fs::remove_dir_all(&source).map_err(cache::Error::io("remove", &source))?;
    Ok(())
}

/// Plain Go: no C compiler needed, and the same program whatever the user's own settings are.
fn go(folder: &Path) -> Command {
    let mut command = process::command("go");
    command
        .env("GOFLAGS", "-mod=readonly -buildvcs=false")
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off")
        .current_dir(folder);
    command
}

fn step(part: &'static Part, command: Command, interrupt: &Interrupt) -> Result<(), Error> {
    let folder = command.get_current_dir().unwrap_or(Path::new(".")).to_owned();
    let label = Label {
        name: part.name,
        version: part.version,
    };
    let output = match cache::step(label, command, interrupt)? {
        Ok(outcome) if outcome.status.success() => return Ok(()),
        Ok(outcome) => outcome.message,
        Err(error) => error.to_string(),
    };
    Err(Error::Build {
        part: part.name,
        version: part.version,
        folder,
        output,
    })
}

/// Copies the released module, whose hash Go checks, and adds the files that it lacks.
fn copy(part: &'static Part, copied: &Copied, to: &Path, interrupt: &Interrupt) -> Result<(), Error> {
    let mut download = go(&part.module_folder());
    download.args(["mod", "download", copied.module]);
    step(part, download, interrupt)?;
    let listed = go(&part.module_folder())
        .args(["list", "-m", "-f", "{{.Dir}}", copied.module])
        .output()
        .map_err(cache::Error::io("list", &part.module_folder()))?;
    let from = PathBuf::from(String::from_utf8_lossy(&listed.stdout).trim());
    copy_folder(&from, to).map_err(cache::Error::io("copy", &from))?;
    for missing in copied.missing {
        let path = to.join(missing);
        let folder = path.parent().unwrap_or(to);
        std::fs::create_dir_all(folder).map_err(cache::Error::io("create", folder))?;
        std::fs::write(&path, "").map_err(cache::Error::io("write", &path))?;
    }
    Ok(())
}

/// Copies bytes and not the permissions: modules are kept read-only.
fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::io::copy(
                &mut std::fs::File::open(entry.path())?,
                &mut std::fs::File::create(target)?,
            )?;
        }
    }
    Ok(())
}

/// Go must be there, and new enough for the part's module.
fn check_go(part: &'static Part) -> Result<(), Error> {
    let needed = needed_go(part)?;
    let output = Command::new("go")
        .args(["env", "GOVERSION"])
        .current_dir(part.module_folder())
        .output()
        .map_err(|_| Error::GoMissing {
            part: part.name,
            needed: needed.clone(),
        })?;
    let found = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() && version_numbers(&found) >= version_numbers(&needed) {
        return Ok(());
    }
    // From 1.21 on Go compares by itself, and says what it found on stderr.
    let found = if found.is_empty() {
        String::from_utf8_lossy(&output.stderr).trim().to_owned()
    } else {
        found
    };
    Err(Error::GoTooOld {
        part: part.name,
        needed,
        found,
    })
}

/// The version on the `go` line of the part's module.
fn needed_go(part: &Part) -> Result<String, Error> {
    let path = part.module_folder().join("go.mod");
    let text = std::fs::read_to_string(&path).map_err(cache::Error::io("read", &path))?;
    let line = text.lines().find_map(|line| line.strip_prefix("go "));
    Ok(line.unwrap_or("1.21").trim().to_owned())
}

/// `go1.26.8` as `[1, 26, 8]`; a suffix such as `rc1` or `-custom` ends it.
fn version_numbers(version: &str) -> Vec<u32> {
    version
        .trim_start_matches("go")
        .split('.')
        .map_while(|part| {
            let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().ok()
        })
        .collect()
}

/// A short digest of everything that decides what is built: the module's files and the arguments.
fn fingerprint(part: &Part) -> Result<String, Error> {
    let folder = part.module_folder();
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(cache::Error::io("read", &folder))? {
        let path = entry.map_err(cache::Error::io("read", &folder))?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    let mut digest = Sha256::new();
    for path in files {
        digest.update(path.file_name().unwrap_or_default().as_encoded_bytes());
        digest.update(std::fs::read(&path).map_err(cache::Error::io("read", &path))?);
    }
    digest.update(part.package);
    digest.update(part.build_arguments().join("\n"));
    digest.update(
        part.copied
            .iter()
            .flat_map(|copied| copied.missing)
            .copied()
            .collect::<Vec<_>>()
            .join("\n"),
    );
    Ok(cache::short(digest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::part::{ETCD, KUBERNETES, PARTS};

    #[test]
    fn go_versions_are_compared_by_number() {
        assert_eq!(version_numbers("go1.26.8"), [1, 26, 8]);
        assert_eq!(version_numbers("go1.27rc1"), [1, 27]);
        assert!(version_numbers("go1.9") < version_numbers("1.26.0"));
        assert!(version_numbers("") < version_numbers("1.26.0"));
    }

    #[test]
    fn each_part_has_its_own_place_in_the_cache() {
        let mut paths: Vec<_> = PARTS.iter().map(|part| program_path(part).unwrap()).collect();
        paths.sort();
        paths.dedup();
        assert_eq!(paths.len(), PARTS.len());
        assert_eq!(program_path(&ETCD).unwrap(), program_path(&ETCD).unwrap());
        let name = program_path(&KUBERNETES).unwrap();
        assert!(
            name.to_string_lossy()
                .contains("/quality-officer/bed/kubernetes-1.37.2-"),
            "{}",
            name.display()
        );
    }
}
