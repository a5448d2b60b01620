//! Names and labels of the objects that the operator makes.

use sha2::{Digest, Sha256};

use quality_core::format::hexadecimal;

/// A label's value: at most 63 characters, so a long name is cut and marked with its hash.
pub fn label(name: &str) -> String {
    if name.len() <= 63 {
        return name.to_owned();
    }
    format!("{}-{}", &name[..52].trim_end_matches(['-', '.']), &hash(&[name])[..10])
}

/// Hash of some texts, in hexadecimal; they cannot run into each other.
pub fn hash(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.as_bytes());
        hasher.update([0]);
    }
    hexadecimal(hasher.finalize())
}
