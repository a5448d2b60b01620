//! Builds the parts with Go, once: what was built lies in the user's cache folder, keyed by version and sources.

use std::fs::{File, TryLockError};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::interrupt::Interrupt;
use crate::message::say;
use crate::part::Part;
use crate::process;

/// Why a part could not be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither `XDG_CACHE_HOME` nor `HOME` says where to keep what is built.
    #[error("no place to keep what is built: set HOME or XDG_CACHE_HOME")]
    NoCacheFolder,
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
    /// A file or folder could not be read or written.
    #[error("{action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The user asked to stop.
    #[error("interrupted while building {0}")]
    Interrupted(&'static str),
}

/// Where everything that is built is kept, for this user.
pub fn cache_folder() -> Result<PathBuf, Error> {
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .map(|cache| cache.join("quality-officer/bed"))
        .ok_or(Error::NoCacheFolder)
}

/// Where the part's program lies once it is built.
pub fn program_path(part: &Part) -> Result<PathBuf, Error> {
    let folder = format!("{}-{}-{}", part.name, part.version, fingerprint(part)?);
    Ok(cache_folder()?.join(folder).join(part.name))
}

/// The part's program, built if it is not there yet. Two builders of one part take turns.
pub fn program(part: &'static Part, interrupt: &Interrupt) -> Result<PathBuf, Error> {
    let program = program_path(part)?;
    if program.exists() {
        return Ok(program);
    }
    let cache = cache_folder()?;
    let io = |action, path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { action, path, source }
    };
    std::fs::create_dir_all(&cache).map_err(io("create", &cache))?;
    let lock_path = cache.join(format!("{}.lock", part.name));
    let lock = File::create(&lock_path).map_err(io("create", &lock_path))?;
    wait_for_lock(&lock, &lock_path, part, interrupt)?;
    if program.exists() {
        return Ok(program);
    }
    check_go(part)?;
    say(format_args!(
        "{} {} ({}): first build, about {} min; cached afterwards in {}",
        part.name,
        part.version,
        part.contents,
        part.minutes,
        program.parent().unwrap_or(&cache).display()
    ));
    let started = Instant::now();
    let staging = tempfile::Builder::new()
        .prefix(&format!(".building-{}-", part.name))
        .tempdir_in(&cache)
        .map_err(io("create a folder in", &cache))?;
    build(part, &staging.path().join(part.name), interrupt)?;
    let target = program.parent().unwrap_or(&cache);
    std::fs::rename(staging.path(), target).map_err(io("rename the build to", target))?;
    say(format_args!(
        "{} {}: built in {} s",
        part.name,
        part.version,
        started.elapsed().as_secs()
    ));
    Ok(program)
}

fn wait_for_lock(lock: &File, path: &Path, part: &Part, interrupt: &Interrupt) -> Result<(), Error> {
    let mut told = false;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if interrupt.signal().is_some() => {
                return Err(Error::Interrupted(part.name));
            }
            Err(TryLockError::WouldBlock) => {
                if !told {
                    say(format_args!(
                        "{} {}: another process builds it; waiting",
                        part.name, part.version
                    ));
                    told = true;
                }
                thread::sleep(Duration::from_millis(200));
            }
            Err(TryLockError::Error(source)) => {
                return Err(Error::Io {
                    action: "lock",
                    path: path.to_owned(),
                    source,
                });
            }
        }
    }
}

fn build(part: &'static Part, output: &Path, interrupt: &Interrupt) -> Result<(), Error> {
    let folder = part.module_folder();
    let failed = |output: String| Error::Build {
        part: part.name,
        version: part.version,
        folder: folder.clone(),
        output,
    };
    let mut command = process::command("go");
    command
        .arg("build")
        .args(part.build_arguments())
        .arg("-o")
        .arg(output)
        .arg(part.package);
    // Plain Go: no C compiler needed, and the same program whatever the user's own settings are.
    command
        .env("GOFLAGS", "-mod=readonly -buildvcs=false")
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off");
    command
        .current_dir(&folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = process::spawn(command, process::Group::Own).map_err(|error| failed(error.to_string()))?;
    let pipe = child.stderr.take();
    let reader = thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(mut pipe) = pipe {
            // A pipe that breaks half-way: what came so far is what there is to show.
            let _ = pipe.read_to_end(&mut text);
        }
        String::from_utf8_lossy(&text).into_owned()
    });
    let started = Instant::now();
    let mut told = 0;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => {}
            Err(error) => return Err(failed(error.to_string())),
        }
        if interrupt.signal().is_some() {
            process::kill_group(&mut child);
            return Err(Error::Interrupted(part.name));
        }
        let half_minutes = started.elapsed().as_secs() / 30;
        if half_minutes > told {
            told = half_minutes;
            say(format_args!(
                "{} {}: building, {} s so far",
                part.name,
                part.version,
                told * 30
            ));
        }
        thread::sleep(Duration::from_millis(100));
    };
    let output = reader.join().unwrap_or_default().trim_end().to_owned();
    if status.success() { Ok(()) } else { Err(failed(output)) }
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
    let text = std::fs::read_to_string(&path).map_err(|source| Error::Io {
        action: "read",
        path,
        source,
    })?;
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
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io {
            action: "read",
            path,
            source,
        }
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(io(&folder))? {
        let path = entry.map_err(io(&folder))?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    let mut digest = Sha256::new();
    for path in files {
        digest.update(path.file_name().unwrap_or_default().as_encoded_bytes());
        digest.update(std::fs::read(&path).map_err(io(&path))?);
    }
    digest.update(part.package);
    digest.update(part.build_arguments().join("\n"));
    let [a, b, c, d, ..]: [u8; 32] = digest.finalize().into();
    Ok(format!("{:08x}", u32::from_be_bytes([a, b, c, d])))
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
