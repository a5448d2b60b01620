//! What the bed is made of: one table row a program.
//!
//! Each part is a Go program that is built from its own small module under `go/`, because the parts' dependencies
//! clash with each other. To add a part: a folder there with `go.mod` and `go.sum`, and a row here.

use std::path::PathBuf;

/// A program that the bed builds.
#[derive(Debug, PartialEq)]
pub struct Part {
    /// Its name on the command line and in the cache folder.
    pub name: &'static str,
    /// The release that is built, as people write it.
    pub version: &'static str,
    /// The programs it holds, for people.
    pub contents: &'static str,
    /// The folder under `go/` with its module.
    pub module: &'static str,
    /// The package to build, `.` for the module's own.
    pub package: &'static str,
    /// Build tags, separated by commas.
    pub tags: &'static str,
    /// String variables that the linker sets: a program built by hand does not know its version otherwise.
    pub variables: &'static [(&'static str, &'static str)],
    /// Set where the released module cannot be built as it is.
    pub copied: Option<Copied>,
    /// How long a first build takes on two cores, in minutes.
    pub minutes: f32,
}

/// A module that is built from a copy of its source, by its own `go.mod`: its release lacks files that it embeds.
#[derive(Debug, PartialEq)]
pub struct Copied {
    /// The module; the part's own module pins its version and its hash.
    pub module: &'static str,
    /// The files that are missing, made empty in the copy.
    pub missing: &'static [&'static str],
}

/// kube-apiserver, kube-controller-manager, kube-scheduler and kubectl in one program.
pub const KUBERNETES: Part = Part {
    name: "kubernetes",
    version: "1.37.2",
    contents: "kube-apiserver, kube-controller-manager, kube-scheduler, kubectl",
    module: "kubernetes",
    package: ".",
    tags: "",
    variables: &[
        // Clients parse the server's version, and fail on the default one.
        ("k8s.io/component-base/version.gitVersion", "v1.37.2"),
        ("k8s.io/component-base/version.gitMajor", "1"),
        ("k8s.io/component-base/version.gitMinor", "37"),
        ("k8s.io/client-go/pkg/version.gitVersion", "v1.37.2"),
        ("k8s.io/client-go/pkg/version.gitMajor", "1"),
        ("k8s.io/client-go/pkg/version.gitMinor", "37"),
    ],
    copied: None,
    minutes: 8.0,
};

/// The store behind the API server.
pub const ETCD: Part = Part {
    name: "etcd",
    version: "3.6.8",
    contents: "etcd",
    module: "etcd",
    package: "go.etcd.io/etcd/server/v3",
    tags: "",
    variables: &[],
    copied: None,
    minutes: 1.0,
};

/// Fake nodes, whose pods become Ready without running anything.
pub const KWOK: Part = Part {
    name: "kwok",
    version: "0.8.0",
    contents: "kwok",
    module: "kwok",
    package: "sigs.k8s.io/kwok/cmd/kwok",
    tags: "",
    variables: &[("sigs.k8s.io/kwok/pkg/consts.Version", "v0.8.0")],
    copied: None,
    minutes: 1.5,
};

/// Prometheus, with file and HTTP service discovery only.
pub const PROMETHEUS: Part = Part {
    name: "prometheus",
    version: "3.16.0",
    contents: "prometheus",
    module: "prometheus",
    package: "github.com/prometheus/prometheus/cmd/prometheus",
    tags: "remove_all_sd",
    variables: &[("github.com/prometheus/common/version.Version", "3.16.0")],
    copied: None,
    minutes: 3.0,
};

/// Prometheus's tool, which writes history as blocks (`promtool tsdb create-blocks-from openmetrics`).
/// Not part of a bed.
pub const PROMTOOL: Part = Part {
    name: "promtool",
    version: "3.16.0",
    contents: "promtool",
    module: "prometheus",
    package: "github.com/prometheus/prometheus/cmd/promtool",
    tags: "remove_all_sd",
    variables: &[("github.com/prometheus/common/version.Version", "3.16.0")],
    copied: None,
    minutes: 1.0,
};

/// An S3 server that keeps objects as files. Not part of a bed.
pub const VERSITYGW: Part = Part {
    name: "versitygw",
    version: "1.8.0",
    contents: "S3 server",
    module: "versitygw",
    package: "github.com/versity/versitygw/cmd/versitygw",
    tags: "",
    variables: &[("main.Version", "v1.8.0")],
    copied: None,
    minutes: 1.5,
};

/// An OCI registry. Not part of a bed.
pub const REGISTRY: Part = Part {
    name: "registry",
    version: "3.1.2",
    contents: "OCI registry",
    module: "registry",
    package: "github.com/distribution/distribution/v3/cmd/registry",
    tags: "",
    variables: &[("github.com/distribution/distribution/v3/version.version", "v3.1.2")],
    copied: None,
    minutes: 1.5,
};

/// An Alertmanager, without its web pages. Not part of a bed.
pub const ALERTMANAGER: Part = Part {
    name: "alertmanager",
    version: "0.34.2",
    contents: "alertmanager",
    module: "alertmanager",
    package: "./cmd/alertmanager",
    tags: "",
    variables: &[("github.com/prometheus/common/version.Version", "0.34.2")],
    copied: Some(Copied {
        module: "github.com/prometheus/alertmanager",
        missing: &["ui/app/dist/index.html"],
    }),
    minutes: 1.5,
};

/// Installs charts. Not part of a bed.
pub const HELM: Part = Part {
    name: "helm",
    version: "4.3.1",
    contents: "Helm",
    module: "helm",
    package: "helm.sh/helm/v4/cmd/helm",
    tags: "",
    variables: &[("helm.sh/helm/v4/internal/version.version", "v4.3.1")],
    copied: None,
    minutes: 2.0,
};

/// The Helm that many still have. Not part of a bed.
pub const HELM3: Part = Part {
    name: "helm3",
    version: "3.22.0",
    contents: "Helm 3",
    module: "helm3",
    package: "helm.sh/helm/v3/cmd/helm",
    tags: "",
    variables: &[("helm.sh/helm/v3/internal/version.version", "v3.22.0")],
    copied: None,
    minutes: 2.0,
};

/// Checks manifests against JSON Schemas. Not part of a bed.
pub const KUBECONFORM: Part = Part {
    name: "kubeconform",
    version: "0.8.0",
    contents: "kubeconform",
    module: "kubeconform",
    package: "github.com/yannh/kubeconform/cmd/kubeconform",
    tags: "",
    variables: &[("main.version", "v0.8.0")],
    copied: None,
    minutes: 0.2,
};

/// Every part there is.
pub const PARTS: &[&Part] = &[
    &ETCD,
    &KUBERNETES,
    &KWOK,
    &PROMETHEUS,
    &PROMTOOL,
    &VERSITYGW,
    &REGISTRY,
    &ALERTMANAGER,
    &HELM,
    &HELM3,
    &KUBECONFORM,
];

/// The parts that a bed starts; the others are built by the first who asks for them.
pub const PARTS_OF_A_BED: &[&Part] = &[&ETCD, &KUBERNETES, &KWOK, &PROMETHEUS];

impl Part {
    /// The part of that name.
    pub fn named(name: &str) -> Option<&'static Part> {
        PARTS.iter().copied().find(|part| part.name == name)
    }

    /// The folder with its Go module.
    pub fn module_folder(&self) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("go").join(self.module)
    }

    /// The arguments of `go build` that decide what comes out.
    pub fn build_arguments(&self) -> Vec<String> {
        let mut linker = vec!["-s -w".to_owned()];
        linker.extend(
            self.variables
                .iter()
                .map(|(variable, value)| format!("-X {variable}={value}")),
        );
        let mut arguments = vec!["-trimpath".to_owned(), "-ldflags".to_owned(), linker.join(" ")];
        if !self.tags.is_empty() {
            arguments.extend(["-tags".to_owned(), self.tags.to_owned()]);
        }
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_a_module_that_pins_its_version() {
        for part in PARTS {
            let module = std::fs::read_to_string(part.module_folder().join("go.mod")).unwrap();
            // Prometheus 3.16.0 is the Go module v0.316.0.
            let release = match part.module {
                "prometheus" => "v0.316.0".to_owned(),
                _ => format!("v{}", part.version),
            };
            assert!(module.contains(&release), "{} {release}", part.name);
            assert!(part.module_folder().join("go.sum").exists(), "{}", part.name);
            assert_eq!(Part::named(part.name), Some(*part));
        }
    }
}
