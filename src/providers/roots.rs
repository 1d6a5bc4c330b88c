//! Certificate authorities: the system's, or Mozilla's where there are none, as in an image FROM scratch.

use std::sync::{Arc, OnceLock};

use rustls::RootCertStore;

/// The authorities to trust. Read once: it takes some milliseconds.
pub fn roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    Arc::clone(ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        let native = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(native.certs);
        if roots.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        Arc::new(roots)
    }))
}
