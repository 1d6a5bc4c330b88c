//! TLS towards servers that are spoken to over https.

use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::middleware::AskTls;
use crate::tls::roots;
use crate::tls::unchecked::Unchecked;

/// Checks servers against the system's authorities (else Mozilla's), or not at all where that was asked for.
pub fn client_config(is_unchecked: bool) -> Arc<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match is_unchecked {
        false => roots::Verifier::new(&provider),
        true => Arc::new(Unchecked(Arc::clone(&provider))),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the versions it was built with")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Arc::new(config)
}

/// How a server that a step asks is spoken to.
///
/// # Errors
/// Where what its owner gave cannot be used, in words for the log.
pub(super) fn asking(tls: &AskTls) -> Result<ClientConfig, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match (&tls.ca, tls.insecure_skip_verify) {
        (_, true) => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Unchecked(provider)))
        }
        (None, false) => builder.with_root_certificates(roots::roots()),
        (Some(pem), false) => {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| format!("its authority: {error}"))?;
                roots.add(certificate).map_err(|error| format!("its authority: {error}"))?;
            }
            if roots.is_empty() {
                return Err("its authority has no certificate in it".to_owned());
            }
            builder.with_root_certificates(roots)
        }
    };
    let Some((certificate, key)) = &tls.identity else { return Ok(builder.with_no_client_auth()) };
    let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| format!("our certificate for it: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(key);
    let key = key.map_err(|error| format!("the key of our certificate for it: {error}"))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| error.to_string())
}
