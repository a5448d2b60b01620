//! An image's reference, taken apart.

use quality_core::incident;

/// The longest repository name that registries take.
const MAX_NAME: usize = 255;

/// An image by registry, repository and digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The registry's host, with its port where it has one; `docker.io` where the reference names none.
    pub host: String,
    /// The repository: names joined by `/`.
    pub repository: String,
    /// `sha256:…`.
    pub digest: String,
}

impl Reference {
    /// Takes a reference that is pinned by digest apart; a tag beside the digest goes.
    pub fn parse(image: &str) -> Option<Self> {
        let digest = incident::digest(image)?;
        let name = image.rsplit_once('@')?.0;
        let (host, rest) = match name.split_once('/') {
            Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (host, rest),
            _ => ("docker.io", name),
        };
        let host = if host == "index.docker.io" { "docker.io" } else { host };
        let slash = rest.rfind('/').map_or(0, |at| at + 1);
        let untagged = rest[slash..].find(':').map_or(rest, |colon| &rest[..slash + colon]);
        // Official images have no owner in their short names.
        let repository = if host == "docker.io" && !untagged.contains('/') {
            format!("library/{untagged}")
        } else {
            untagged.to_owned()
        };
        let valid = repository.len() <= MAX_NAME && repository.split('/').all(is_component) && is_host(host);
        valid.then(|| Self {
            host: host.to_owned(),
            repository,
            digest: digest.to_owned(),
        })
    }
}

/// A name or an address as a URL has it, with its port where it has one.
fn is_host(host: &str) -> bool {
    host.len() <= MAX_NAME
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']'))
}

/// Lower-case letters and digits, separated by `.`, `_` and `-`: so neither `..` nor nothing.
fn is_component(part: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    edge(part.bytes().next())
        && edge(part.bytes().last())
        && part
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'))
}

/// Whether a text is a whole sha256 digest.
pub fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)))
}
