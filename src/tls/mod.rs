//! TLS as a client: whom Herder believes where it asks somebody, and what it shows them.

mod roots;
mod unchecked;

use std::fmt;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};

use crate::settings::Settings;

pub use roots::roots;

/// Whose certificates are believed.
pub enum Trust {
    /// Those that an authority of the system, else one of Mozilla's, has signed. They are read at the first handshake.
    System,
    /// Those that one of these has signed.
    Authorities(RootCertStore),
    /// Everybody's: for `--insecureSkipVerify`.
    Anybody,
}

/// Our own certificate with its key, for who wants to see one.
pub struct Identity(Arc<SingleCertAndKey>);

/// Something in PEM, and what it is called where it is no good.
#[derive(Clone, Copy)]
pub struct Pem<'a> {
    /// As in "cannot read its authority".
    pub name: &'a str,
    /// What it says.
    pub text: &'a [u8],
}

/// How somebody is spoken to over TLS whose certificate is believed under these terms, and who is shown ours.
pub fn client(trust: Trust, identity: Option<Identity>) -> ClientConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("the provider has the versions it was built with");
    let builder = match trust {
        Trust::System => {
            let verifier = roots::Verifier::new(&provider);
            builder.dangerous().with_custom_certificate_verifier(verifier)
        }
        Trust::Authorities(roots) => builder.with_root_certificates(roots),
        Trust::Anybody => {
            let verifier = Arc::new(unchecked::Unchecked(provider));
            builder.dangerous().with_custom_certificate_verifier(verifier)
        }
    };
    match identity {
        None => builder.with_no_client_auth(),
        Some(Identity(own)) => builder.with_client_cert_resolver(own),
    }
}

/// How the servers of backends are spoken to that are spoken to over https, by requests and by checks.
pub fn to_servers(settings: &Settings) -> Arc<ClientConfig> {
    let trust = if settings.insecure_skip_verify { Trust::Anybody } else { Trust::System };
    Arc::new(client(trust, None))
}

impl Trust {
    /// In the authorities that an owner named.
    ///
    /// # Errors
    /// Where there is none, or one is none, in words for their owner.
    pub fn in_these(pem: Pem<'_>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for authority in pem.certificates()? {
            roots.add(authority).map_err(|error| pem.unusable(error))?;
        }
        Ok(Self::Authorities(roots))
    }
}

impl Identity {
    /// A certificate, with those that it hangs on behind it, and its key.
    ///
    /// # Errors
    /// Where one is none, or they do not go together, in words for their owner.
    pub fn new(certificate: Pem<'_>, key: Pem<'_>) -> Result<Self, String> {
        let chain = certificate.certificates()?;
        let key = PrivateKeyDer::from_pem_slice(key.text).map_err(|error| key.unreadable(error))?;
        let own = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider());
        let own = own.map_err(|error| certificate.unusable(error))?;
        Ok(Self(Arc::new(own.into())))
    }
}

impl Pem<'_> {
    fn certificates(self) -> Result<Vec<CertificateDer<'static>>, String> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(self.text).collect();
        match found {
            Ok(found) if found.is_empty() => Err(self.unreadable("there is no certificate in it")),
            found => found.map_err(|error| self.unreadable(error)),
        }
    }

    fn unreadable(self, why: impl fmt::Display) -> String {
        format!("cannot read {}: {why}", self.name)
    }

    fn unusable(self, why: impl fmt::Display) -> String {
        format!("{}: {why}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PEM as it should be, of a certificate that is none.
    const NO_CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

    #[track_caller]
    fn check<T>(made: Result<T, String>, expected: &str) {
        let why = made.err().expect("it is no good");
        assert!(why.starts_with(expected), "{why}");
    }

    #[test]
    fn what_is_no_good_is_named() {
        let ca =
            |text: &'static str| Pem { name: "the certificate /ca.pem", text: text.as_bytes() };
        let none = "cannot read the certificate /ca.pem: there is no certificate in it";
        check(Trust::in_these(ca("")), none);
        check(Trust::in_these(ca("a word")), none);
        check(Trust::in_these(ca("-----BEGIN nonsense")), "cannot read the certificate /ca.pem: ");
        check(Trust::in_these(ca(NO_CERTIFICATE)), "the certificate /ca.pem: ");

        let own = |text: &'static str| Pem { name: "our certificate", text: text.as_bytes() };
        let key = |text: &'static str| Pem { name: "its key", text: text.as_bytes() };
        check(Identity::new(own(""), key("")), "cannot read our certificate: there is no");
        check(Identity::new(own(NO_CERTIFICATE), key("")), "cannot read its key: ");
        let no_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        check(Identity::new(own(NO_CERTIFICATE), key(no_key)), "our certificate: ");
    }
}
