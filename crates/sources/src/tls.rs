//! The TLS provider of the process.

/// One TLS provider for the whole process.
pub fn install_crypto() {
    // An error says that one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
