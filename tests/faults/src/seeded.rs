//! The harness proves itself: bugs that are put into the operator on purpose, one at a time, and the plan that must catch each.
//!
//! The list is `tests/faults/bugs.yaml`. Each bug is a replacement in one file; the tree is copied, built with it, and the
//! operator so built is put under the named plan.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use bed::Endpoints;
use serde::Deserialize;
use stage::StageError;

/// A bug on purpose.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bug {
    /// What is wrong then, in a few words.
    pub name: String,
    /// The promise that it breaks, by its number.
    pub promise: u8,
    /// The part of the harness that must catch it.
    #[serde(default)]
    pub suite: String,
    /// The first of its plans whose name contains this.
    #[serde(default)]
    pub plan: String,
    /// In place of a plan, the test of `tests/cluster` that must catch it.
    #[serde(default)]
    pub test: Option<String>,
    /// What is changed.
    pub edits: Vec<Edit>,
}

/// A replacement in one file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// The file, from the project's folder.
    pub file: String,
    /// What stands there.
    pub old: String,
    /// What stands there instead.
    pub new: String,
    /// How many times it stands there.
    #[serde(default = "once")]
    pub times: usize,
}

fn once() -> usize {
    1
}

/// The list.
pub fn bugs() -> Result<Vec<Bug>, StageError> {
    let text = include_str!("../bugs.yaml");
    serde_saphyr::from_str(text).map_err(|error| StageError::Unexpected(format!("bugs.yaml: {error}")))
}

/// The part of the harness that bugs belong to which a test must catch.
const TESTS: &str = "tests";

impl Bug {
    /// The part of the harness that it belongs to.
    pub fn suite(&self) -> &str {
        if self.test.is_some() { TESTS } else { &self.suite }
    }

    /// The files with the bug in them, by their paths in the project's folder.
    pub fn planted(&self) -> Result<BTreeMap<&str, String>, StageError> {
        let mut planted: BTreeMap<&str, String> = BTreeMap::new();
        for edit in &self.edits {
            let text = match planted.remove(edit.file.as_str()) {
                Some(text) => text,
                None => original(&edit.file)?,
            };
            let times = text.matches(&edit.old).count();
            if times != edit.times {
                return Err(StageError::Unexpected(format!(
                    "bug `{}`: its text stands {times} times in {}, not {}",
                    self.name, edit.file, edit.times
                )));
            }
            planted.insert(&edit.file, text.replace(&edit.old, &edit.new));
        }
        Ok(planted)
    }

    /// Whether it is in what an administrator installs and not in the program.
    pub fn is_installed(&self) -> bool {
        self.edits.iter().all(|edit| edit.file.starts_with("deploy/"))
    }
}

fn original(file: &str) -> Result<String, StageError> {
    std::fs::read_to_string(stage::install::project().join(file)).map_err(StageError::io(format!("read {file}")))
}

/// Installs the files of a bug that is in what an administrator installs: with the bug, or as they should be.
pub fn installed(endpoints: &Endpoints, bug: &Bug, with_it: bool) -> Result<(), StageError> {
    for (file, planted) in bug.planted()? {
        let text = if with_it { planted } else { original(file)? };
        let copy = endpoints.work_folder.join("planted.yaml");
        write(&copy, text.as_bytes())?;
        let copy = copy.display().to_string();
        endpoints.kubectl(["apply", "--server-side", "--force-conflicts", "-f", &copy])?;
    }
    // The API server's watch of its policies follows.
    std::thread::sleep(std::time::Duration::from_secs(10));
    Ok(())
}

/// Runs a test of the control plane with this operator: true if it fails. A test that does not exist shows nothing.
pub fn fails(endpoints: &Endpoints, test: &str, program: &Path) -> Result<bool, StageError> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args([
        "test",
        "--quiet",
        "--workspace",
        "--test",
        "cluster",
        "--",
        "--exact",
        "--include-ignored",
        test,
    ]);
    cargo
        .current_dir(stage::install::project())
        .env(stage::PROGRAM_VARIABLE, program);
    let output = cargo.output().map_err(StageError::io(format!("run {cargo:?}")))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let log = endpoints.work_folder.join("caught.log");
    write(&log, &[output.stdout.as_slice(), &output.stderr].concat())?;
    match (text.contains("1 passed; 0 failed"), text.contains("0 passed; 1 failed")) {
        (true, false) => Ok(false),
        (false, true) => Ok(true),
        _ => Err(StageError::Unexpected(format!(
            "test {test} did not run, see {}",
            log.display()
        ))),
    }
}

/// A copy of the tree, to be built with bugs in it.
pub struct Workshop {
    folder: PathBuf,
}

impl Workshop {
    /// Copies what git tracks, and links what was built of other people's libraries, so that only our own is built again.
    pub fn set_up() -> Result<Self, StageError> {
        let project = stage::install::project();
        let folder = project.join("target/seeded");
        let listed = run(Command::new("git").current_dir(&project).args(["ls-files", "-z"]))?;
        let tree = folder.join("tree");
        for file in listed.split('\0').filter(|file| !file.is_empty()) {
            let Ok(bytes) = std::fs::read(project.join(file)) else {
                continue;
            };
            let copy = tree.join(file);
            // What is as it was keeps its time: cargo builds only what is newer.
            if std::fs::read(&copy).ok().as_ref() != Some(&bytes) {
                write(&copy, &bytes)?;
            }
        }
        let debug = folder.join("target/debug");
        if !debug.exists() {
            std::fs::create_dir_all(&debug).map_err(StageError::io("make target/seeded"))?;
            for part in ["deps", "build", ".fingerprint"] {
                let built = project.join("target/debug").join(part);
                run(Command::new("cp").arg("-al").arg(built).arg(&debug))?;
            }
            unlink_own(&debug)?;
        }
        Ok(Self { folder })
    }

    /// The operator with this bug.
    pub fn build(&self, bug: &Bug) -> Result<PathBuf, StageError> {
        let tree = self.folder.join("tree");
        let planted = bug.planted()?;
        for (file, text) in &planted {
            write(&tree.join(file), text.as_bytes())?;
        }
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--quiet", "--workspace", "--bin", "quality-officer"]);
        cargo.current_dir(&tree);
        cargo.env("CARGO_TARGET_DIR", self.folder.join("target"));
        let built = run(&mut cargo);
        for file in planted.keys() {
            write(&tree.join(file), original(file)?.as_bytes())?;
        }
        built.map_err(|error| StageError::Unexpected(format!("bug `{}` does not build: {error}", bug.name)))?;
        let programs = self.folder.join("programs").join(bug.name.replace([' ', '/'], "-"));
        std::fs::create_dir_all(&programs).map_err(StageError::io("make target/seeded"))?;
        let program = programs.join("quality-officer");
        let made = self.folder.join("target/debug/quality-officer");
        std::fs::copy(made, &program).map_err(StageError::io("copy the operator"))?;
        Ok(program)
    }
}

/// Cargo names what it builds of us the same in every folder, and a link is the other folder's file too.
fn unlink_own(debug: &Path) -> Result<(), StageError> {
    let failed = || StageError::io("unlink what was built of us");
    for part in ["deps", ".fingerprint"] {
        for entry in std::fs::read_dir(debug.join(part)).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            let name = entry.file_name().to_string_lossy().replace('_', "-");
            if !name.trim_start_matches("lib").starts_with("quality-") {
                continue;
            }
            let path = entry.path();
            let removed = if path.is_dir() {
                std::fs::remove_dir_all(&path)
            } else {
                std::fs::remove_file(&path)
            };
            removed.map_err(failed())?;
        }
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), StageError> {
    let failed = || StageError::io(format!("write {}", path.display()));
    std::fs::create_dir_all(path.parent().unwrap_or(path)).map_err(failed())?;
    std::fs::write(path, bytes).map_err(failed())
}

fn run(command: &mut Command) -> Result<String, StageError> {
    let output = command.output().map_err(StageError::io(format!("run {command:?}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let tail: Vec<&str> = text.lines().collect();
    Err(StageError::Unexpected(tail[tail.len().saturating_sub(20)..].join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_still_fits_the_source_and_breaks_another_promise_or_in_another_way() {
        let bugs = bugs().unwrap();
        let mut names = std::collections::BTreeSet::new();
        for bug in &bugs {
            for (file, text) in bug.planted().unwrap() {
                assert_ne!(text, original(file).unwrap(), "{}", bug.name);
            }
            assert!((1..=35).contains(&bug.promise), "{}", bug.name);
            assert!(names.insert(bug.name.clone()), "{} twice", bug.name);
        }
    }

    #[test]
    fn every_bug_stands_in_the_documents_with_its_promise() {
        let page = original("docs/FAULTS.md").unwrap();
        let bugs = bugs().unwrap();
        assert!(page.contains(&format!("lists {} bugs", bugs.len())));
        for bug in bugs {
            let row = format!("| {} | ", bug.promise);
            let told = page
                .lines()
                .any(|line| line.starts_with(&row) && line.contains(&bug.name));
            assert!(told, "{}", bug.name);
        }
    }

    #[test]
    fn every_test_that_must_catch_a_bug_stands_in_the_suite_and_the_bug_is_in_the_program() {
        for bug in bugs().unwrap() {
            let Some(test) = &bug.test else { continue };
            assert!(
                !bug.is_installed(),
                "{}: the suite installs what it should be",
                bug.name
            );
            let (module, name) = test.rsplit_once("::").unwrap();
            let file = format!("tests/cluster/{}.rs", module.replace("::", "/"));
            assert!(
                original(&file).unwrap().contains(&format!("async fn {name}()")),
                "{test}"
            );
        }
    }
}
