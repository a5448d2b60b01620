//! The Python environment with MLflow, made once and kept in the user's cache folder, keyed by what is in it and by
//! the Python it is made with.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use sha2::{Digest, Sha256};

use crate::cache::{self, Label};
use crate::interrupt::Interrupt;
use crate::message::say;
use crate::process;

/// The release that is installed.
pub const VERSION: &str = "3.17.2";
/// The oldest Python that runs it.
const NEEDED: (u32, u32) = (3, 10);
/// What is installed. boto3 is for artifacts on S3, which the server lists and the client reads and writes.
const PACKAGES: [&str; 2] = ["mlflow==3.17.2", "boto3==1.44.5"];
const LABEL: Label = Label {
    name: "mlflow",
    version: VERSION,
};
/// How long a first build takes, in minutes: most of it is the download of some 250 MB.
const MINUTES: f32 = 2.0;

/// Why there is no environment.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing can be kept, or the user asked to stop.
    #[error(transparent)]
    Cache(#[from] cache::Error),
    /// There is no Python, or it cannot say what it is.
    #[error("`python3` was not found on the PATH, or does not work: MLflow needs Python {}.{} or newer", NEEDED.0, NEEDED.1)]
    PythonMissing,
    /// Python is too old.
    #[error("MLflow {VERSION} needs Python {}.{} or newer, but `python3` is {found}", NEEDED.0, NEEDED.1)]
    PythonTooOld {
        /// What there is.
        found: String,
    },
    /// A virtual environment cannot be made.
    #[error(
        "`python3` cannot make virtual environments: it lacks the module ensurepip (on Debian and Ubuntu, install \
         python3-venv), and there is no `virtualenv` on the PATH either"
    )]
    NoVirtualEnvironments,
    /// A step failed.
    #[error("could not {action}:\n{output}")]
    Step {
        /// What it was to do.
        action: &'static str,
        /// What it wrote.
        output: String,
    },
}

/// A Python environment with MLflow, and an empty database of its schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    folder: PathBuf,
}

impl Environment {
    /// The environment, made if it is not there yet. Two makers take turns.
    pub fn find(interrupt: &Interrupt) -> Result<Self, Error> {
        let python = Python::on_path()?;
        let environment = Self {
            folder: cache::folder()?.join(format!("mlflow-{VERSION}-{}", fingerprint(&python))),
        };
        if environment.is_complete() {
            return Ok(environment);
        }
        let _turn = cache::turn(LABEL, interrupt)?;
        if !environment.is_complete() {
            environment.make(&python, interrupt)?;
        }
        Ok(environment)
    }

    /// The Python program that has the package `mlflow`, server and client.
    pub fn python(&self) -> PathBuf {
        self.folder.join("venv/bin/python")
    }

    /// An empty database with MLflow's tables: to copy it is seconds faster than to make one.
    pub fn database(&self) -> PathBuf {
        self.folder.join("empty.db")
    }

    /// Programs of an environment name its folder, so it is made where it stays, and marked when it is complete. The
    /// marker does not help when the Python behind it was removed since.
    fn is_complete(&self) -> bool {
        self.marker().exists() && self.python().exists()
    }

    fn marker(&self) -> PathBuf {
        self.folder.join("complete")
    }

    fn make(&self, python: &Python, interrupt: &Interrupt) -> Result<(), Error> {
        if !python.makes_environments && !python.has_virtualenv {
            return Err(Error::NoVirtualEnvironments);
        }
        say(format_args!(
            "mlflow {VERSION} (tracking server, Python packages): first build, about {MINUTES} min; cached afterwards \
             in {}",
            self.folder.display()
        ));
        let started = Instant::now();
        if self.folder.exists() {
            std::fs::remove_dir_all(&self.folder).map_err(cache::Error::io("remove", &self.folder))?;
        }
        std::fs::create_dir_all(&self.folder).map_err(cache::Error::io("create", &self.folder))?;
        let venv = self.folder.join("venv");
        let mut command;
        if python.makes_environments {
            command = process::command("python3");
            command.args(["-I", "-m", "venv"]).arg(&venv);
        } else {
            command = process::command("virtualenv");
            command.args(["--python", "python3"]).arg(&venv);
        }
        step("make a virtual environment", command, interrupt)?;

        let mut command = self.command();
        command
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(PACKAGES);
        step("install MLflow", command, interrupt)?;

        let mut command = self.command();
        command
            .args(["-m", "mlflow", "db", "upgrade"])
            .arg(format!("sqlite:///{}", self.database().display()))
            .envs(super::QUIET);
        step("make an empty database", command, interrupt)?;

        std::fs::write(self.marker(), "").map_err(cache::Error::io("write", &self.marker()))?;
        say(format_args!(
            "mlflow {VERSION}: built in {} s",
            started.elapsed().as_secs()
        ));
        Ok(())
    }

    /// The environment's Python, on its own: no settings and packages of the user's.
    pub fn command(&self) -> Command {
        let mut command = process::command(self.python());
        command.arg("-I").current_dir(&self.folder);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("MLFLOW_") || text.starts_with("_MLFLOW_") {
                command.env_remove(name);
            }
        }
        command
    }
}

fn step(action: &'static str, command: Command, interrupt: &Interrupt) -> Result<(), Error> {
    let output = match cache::step(LABEL, command, interrupt)? {
        Ok(outcome) if outcome.status.success() => return Ok(()),
        Ok(outcome) => outcome.message,
        Err(error) => error.to_string(),
    };
    Err(Error::Step { action, output })
}

/// The `python3` on the PATH.
#[derive(Debug)]
struct Python {
    /// Such as `3.11.7`.
    version: String,
    /// Where it is installed.
    prefix: PathBuf,
    makes_environments: bool,
    has_virtualenv: bool,
}

impl Python {
    fn on_path() -> Result<Self, Error> {
        let question = "import importlib.util, shutil, sys
print('.'.join(map(str, sys.version_info[:3])))
print(sys.base_prefix)
print(importlib.util.find_spec('ensurepip') is not None)
print(shutil.which('virtualenv') is not None)";
        let output = Command::new("python3")
            .args(["-I", "-c", question])
            .output()
            .map_err(|_| Error::PythonMissing)?;
        Self::parse(&String::from_utf8_lossy(&output.stdout))
    }

    fn parse(answer: &str) -> Result<Self, Error> {
        let mut lines = answer.lines();
        let mut line = || lines.next().ok_or(Error::PythonMissing);
        let python = Self {
            version: line()?.to_owned(),
            prefix: Path::new(line()?).to_owned(),
            makes_environments: line()? == "True",
            has_virtualenv: line()? == "True",
        };
        let mut numbers = python.version.split('.').map_while(|number| number.parse().ok());
        if (numbers.next(), numbers.next()) < (Some(NEEDED.0), Some(NEEDED.1)) {
            return Err(Error::PythonTooOld { found: python.version });
        }
        Ok(python)
    }
}

/// A short digest of everything that decides what the environment is.
fn fingerprint(python: &Python) -> String {
    let digest = Sha256::new()
        .chain_update(PACKAGES.join(" "))
        .chain_update(&python.version)
        .chain_update(python.prefix.as_os_str().as_encoded_bytes());
    cache::short(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_python_or_none_is_an_error_that_says_what_is_needed() {
        let error = Python::parse("3.9.2\n/usr\nTrue\nFalse\n").unwrap_err().to_string();
        assert!(error.contains("3.10 or newer, but `python3` is 3.9.2"), "{error}");
        let error = Python::parse("").unwrap_err().to_string();
        assert!(error.contains("not found on the PATH"), "{error}");
        let python = Python::parse("3.14.1\n/usr\nFalse\nTrue\n").unwrap();
        assert!(!python.makes_environments && python.has_virtualenv);
    }

    #[test]
    fn another_python_gets_another_environment() {
        let of = |answer| fingerprint(&Python::parse(answer).unwrap());
        let one = of("3.11.7\n/usr\nTrue\nFalse\n");
        assert_eq!(one, of("3.11.7\n/usr\nTrue\nTrue\n"));
        assert_ne!(one, of("3.11.8\n/usr\nTrue\nFalse\n"));
        assert_ne!(one, of("3.11.7\n/usr/local\nTrue\nFalse\n"));
    }

    #[test]
    fn the_packages_pin_the_version() {
        assert!(PACKAGES.contains(&format!("mlflow=={VERSION}").as_str()));
        assert!(PACKAGES.iter().all(|package| package.contains("==")));
    }
}
