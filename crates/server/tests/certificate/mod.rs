//! A certificate in files, and a client that trusts it. Shared by the suites that speak TLS.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

/// Where the certificate and its key lie in a directory.
pub(crate) fn paths(directory: &Path) -> [PathBuf; 2] {
    ["cert.pem", "key.pem"].map(|name| directory.join(name))
}

/// Writes a new certificate for `localhost` and its key.
pub(crate) fn write_pair(directory: &Path) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let [cert_path, key_path] = paths(directory);
    fs::write(cert_path, cert.pem()).unwrap();
    fs::write(key_path, signing_key.serialize_pem()).unwrap();
    cert.der().clone()
}

/// A client that trusts only this certificate.
pub(crate) fn trusting(certificate: &CertificateDer<'static>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}
