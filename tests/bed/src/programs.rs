//! The programs of one bed, under their own names in one folder.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::go_build;
use crate::interrupt::Interrupt;
use crate::part::{ETCD, KUBERNETES, KWOK, PROMETHEUS, PROMTOOL};
use crate::work_folder::{self, WorkFolder};

/// The environment variable by which people who have etcd, kube-apiserver and kubectl name their folder.
const ASSETS: &str = "KUBEBUILDER_ASSETS";

/// Why a program is missing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be built.
    #[error(transparent)]
    Build(#[from] go_build::Error),
    /// The folder for them could not be made.
    #[error(transparent)]
    WorkFolder(#[from] work_folder::Error),
    /// A link to it could not be made.
    #[error("could not link {}", path.display())]
    Link {
        /// The link.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The user's own folder lacks one.
    #[error("{ASSETS} is {}, which has no {name}; unset it to build one", folder.display())]
    NotInAssets {
        /// The folder.
        folder: PathBuf,
        /// The program.
        name: &'static str,
    },
}

/// Where the programs of one bed are.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The folder with all of them, each under its own name.
    pub folder: PathBuf,
    /// KWOK, if it is wanted.
    pub kwok: Option<PathBuf>,
    /// Prometheus.
    pub prometheus: PathBuf,
    /// promtool, which need not be built yet.
    pub promtool: PathBuf,
}

/// What is asked of the programs.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// A control plane; without one, only kubectl.
    pub control_plane: bool,
    /// Fake nodes.
    pub kwok: bool,
}

/// Finds or builds what is wanted, and links it into the folder `bin`.
pub fn gather(work: &WorkFolder, wanted: Wanted, interrupt: &Interrupt) -> Result<Programs, Error> {
    let folder = work.folder("bin")?;
    let link = |name: &str, program: &Path| {
        let path = folder.join(name);
        symlink(program, &path).map_err(|source| Error::Link { path, source })
    };
    let assets = std::env::var_os(ASSETS)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    let given = |name: &'static str| match &assets {
        None => Ok(None),
        Some(folder) if folder.join(name).exists() => Ok(Some(folder.join(name))),
        Some(folder) => Err(Error::NotInAssets {
            folder: folder.clone(),
            name,
        }),
    };
    let mut kwok = None;
    if wanted.control_plane {
        let etcd = match given("etcd")? {
            Some(etcd) => etcd,
            None => go_build::program(&ETCD, interrupt)?,
        };
        link("etcd", &etcd)?;
        let kubernetes = go_build::program(&KUBERNETES, interrupt)?;
        link(
            "kube-apiserver",
            &given("kube-apiserver")?.unwrap_or_else(|| kubernetes.clone()),
        )?;
        link("kubectl", &given("kubectl")?.unwrap_or_else(|| kubernetes.clone()))?;
        link("kube-controller-manager", &kubernetes)?;
        link("kube-scheduler", &kubernetes)?;
        if wanted.kwok {
            let program = go_build::program(&KWOK, interrupt)?;
            link("kwok", &program)?;
            kwok = Some(program);
        }
    } else {
        let kubectl = match given("kubectl")?.or_else(|| on_path("kubectl")) {
            Some(kubectl) => kubectl,
            None => go_build::program(&KUBERNETES, interrupt)?,
        };
        link("kubectl", &kubectl)?;
    }
    let prometheus = go_build::program(&PROMETHEUS, interrupt)?;
    link("prometheus", &prometheus)?;
    let promtool = go_build::program_path(&PROMTOOL)?;
    link("promtool", &promtool)?;
    Ok(Programs {
        folder,
        kwok,
        prometheus,
        promtool,
    })
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}
