//! The one TLS implementation of the product: rustls with ring.

/// Makes ring the process-wide provider of cryptography. Call it once, first thing in `main`; later calls do nothing.
pub fn install() {
    // Err means that a provider is installed already, which is what we want.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
