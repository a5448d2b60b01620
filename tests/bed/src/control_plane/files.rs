//! The files that the servers of one bed read: certificates, keys, kubeconfigs and configuration.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::objects::KWOK_USER;
use crate::certificates::{self, Authority, Identity};
use crate::work_folder::{self, WorkFolder};

/// Why they could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A certificate could not be made.
    #[error(transparent)]
    Certificates(#[from] certificates::Error),
    /// A file could not be written.
    #[error(transparent)]
    WorkFolder(#[from] work_folder::Error),
}

/// The paths of a certificate and its key.
#[derive(Clone, Debug)]
pub struct Pair {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Where each file lies.
#[derive(Clone, Debug)]
pub struct Files {
    pub authority: Pair,
    pub server: Pair,
    pub token_key: PathBuf,
    pub token_public_key: PathBuf,
    pub admin: PathBuf,
    pub controllers: PathBuf,
    pub scheduler: PathBuf,
    pub kwok: PathBuf,
    pub stages: PathBuf,
    pub audit_policy: PathBuf,
    pub audit_log: PathBuf,
    /// The authority's certificate and the administrator's, for this program's own requests.
    pub administrator: (String, Identity),
}

/// Who did what, without the objects themselves.
const AUDIT_POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
";

impl Files {
    /// Writes all of them into the folder.
    pub fn write(work: &WorkFolder, api_server: &str) -> Result<Self, Error> {
        work.folder("pki")?;
        let authority = Authority::new()?;
        let authority_pair = pair(work, "ca", &authority.identity())?;
        let (token_key, token_public_key) = certificates::token_keys()?;
        let admin = authority.client("quality-officer-bed-admin", Some("system:masters"))?;
        let cluster = Cluster {
            work,
            api_server,
            authority: &authority_pair.certificate,
        };
        Ok(Self {
            server: pair(work, "server", &authority.server()?)?,
            token_key: work.write("pki/sa.key", &token_key)?,
            token_public_key: work.write("pki/sa.pub", &token_public_key)?,
            admin: cluster.kubeconfig("admin", &admin)?,
            controllers: cluster.kubeconfig(
                "controller-manager",
                &authority.client("system:kube-controller-manager", None)?,
            )?,
            scheduler: cluster.kubeconfig("scheduler", &authority.client("system:kube-scheduler", None)?)?,
            kwok: cluster.kubeconfig("kwok", &authority.client(KWOK_USER, None)?)?,
            stages: work.write("kwok-stages.yaml", include_str!("stages.yaml"))?,
            audit_policy: work.write("audit-policy.yaml", AUDIT_POLICY)?,
            audit_log: work.path().join("audit.log"),
            administrator: (authority.identity().certificate, admin),
            authority: authority_pair,
        })
    }
}

struct Cluster<'a> {
    work: &'a WorkFolder,
    api_server: &'a str,
    authority: &'a Path,
}

impl Cluster<'_> {
    /// Writes a kubeconfig, as JSON, which is YAML too.
    fn kubeconfig(&self, name: &str, identity: &Identity) -> Result<PathBuf, Error> {
        let client = pair(self.work, name, identity)?;
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "bed",
            "clusters": [{ "name": "bed", "cluster": {
                "server": self.api_server,
                "certificate-authority": self.authority,
            }}],
            "users": [{ "name": name, "user": {
                "client-certificate": client.certificate,
                "client-key": client.key,
            }}],
            "contexts": [{ "name": "bed", "context": { "cluster": "bed", "user": name } }],
        });
        Ok(self
            .work
            .write(&format!("{name}.kubeconfig"), &format!("{kubeconfig:#}"))?)
    }
}

fn pair(work: &WorkFolder, name: &str, identity: &Identity) -> Result<Pair, Error> {
    Ok(Pair {
        certificate: work.write(&format!("pki/{name}.crt"), &identity.certificate)?,
        key: work.write(&format!("pki/{name}.key"), &identity.key)?,
    })
}
