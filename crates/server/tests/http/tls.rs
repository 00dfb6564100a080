//! TLS with a certificate that can be replaced while the server runs.

use std::fs;

use farthing_server::{Reload, ServeConfig, Timeouts, Tls};
use rustls::pki_types::{CertificateDer, ServerName};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::certificate::{paths, trusting, write_pair};
use crate::stub_provider::StubProvider;
use crate::wire::{Endpoint, PATIENT};

/// A server with a certificate in files.
struct TlsServer {
    directory: TempDir,
    endpoint: Endpoint,
    tls: Tls,
}

impl TlsServer {
    /// Serves the certificate.
    async fn start(timeouts: Timeouts) -> (Self, CertificateDer<'static>) {
        let directory = tempfile::tempdir().unwrap();
        let certificate = write_pair(directory.path());
        let [cert, key] = paths(directory.path());
        let tls = Tls::open(cert, key).unwrap();
        let config = ServeConfig {
            tls: Some(tls.clone()),
            ..ServeConfig::new(timeouts)
        };
        let endpoint = Endpoint::serve_with(StubProvider::default().app(), config).await;
        let server = Self {
            directory,
            endpoint,
            tls,
        };
        (server, certificate)
    }

    /// Gets a path over a connection that trusts only this certificate.
    async fn get(&self, trusted: &CertificateDer<'static>) -> std::io::Result<String> {
        let stream = TcpStream::connect(self.endpoint.address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(trusting(trusted));
        let mut stream = connector.connect(name, stream).await?;
        stream
            .write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    async fn is_trusted_with(&self, trusted: &CertificateDer<'static>) -> bool {
        match self.get(trusted).await {
            Ok(answer) => {
                assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
                true
            }
            Err(_) => false,
        }
    }
}

#[tokio::test]
async fn requests_are_answered_over_tls() {
    let (server, certificate) = TlsServer::start(PATIENT).await;
    assert!(server.is_trusted_with(&certificate).await);
    let other = write_pair(tempfile::tempdir().unwrap().path());
    assert!(!server.is_trusted_with(&other).await);
}

#[tokio::test]
async fn a_renewed_certificate_is_used_by_new_connections() {
    let (server, old) = TlsServer::start(PATIENT).await;
    let new = write_pair(server.directory.path());
    assert!(
        server.is_trusted_with(&old).await,
        "nobody has asked for it"
    );
    server.tls.reload().unwrap();
    assert!(server.is_trusted_with(&new).await);
    assert!(!server.is_trusted_with(&old).await);
}

#[tokio::test]
async fn a_bad_certificate_leaves_the_earlier_one_in_use() {
    let (server, certificate) = TlsServer::start(PATIENT).await;
    let [cert_path, key_path] = paths(server.directory.path());
    let [good_cert, good_key] = [&cert_path, &key_path].map(|path| fs::read(path).unwrap());
    let elsewhere = tempfile::tempdir().unwrap();
    write_pair(elsewhere.path());
    let other_key = fs::read(&paths(elsewhere.path())[1]).unwrap();
    for (cert, key, expected) in [
        (
            &b"no certificate"[..],
            &good_key[..],
            "cert.pem has no usable certificate",
        ),
        (&[], &good_key, "cert.pem has no usable certificate"),
        (
            &good_cert[..100],
            &good_key,
            "cert.pem has no usable certificate",
        ),
        (&good_cert, b"no key", "key.pem has no usable private key"),
        (&good_cert, &other_key, "cannot be used with its key"),
    ] {
        fs::write(&cert_path, cert).unwrap();
        fs::write(&key_path, key).unwrap();
        let error = server.tls.reload().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(server.is_trusted_with(&certificate).await);
        assert!(Tls::open(cert_path.clone(), key_path.clone()).is_err());
    }
    fs::remove_file(&key_path).unwrap();
    let error = server.tls.reload().unwrap_err().to_string();
    assert!(
        error.contains("cannot read") && error.contains("key.pem"),
        "{error}"
    );
    assert!(server.is_trusted_with(&certificate).await);
}

#[tokio::test]
async fn a_request_to_reload_renews_the_certificate() {
    let (server, _) = TlsServer::start(PATIENT).await;
    let reload = Reload::default();
    let keeping = tokio::spawn(server.tls.clone().keep_fresh(reload.clone()));
    let new = write_pair(server.directory.path());
    while !server.is_trusted_with(&new).await {
        reload.request();
    }
    keeping.abort();
}

#[tokio::test]
async fn a_peer_without_tls_is_told_so() {
    let (server, _) = TlsServer::start(PATIENT).await;
    let response = server.endpoint.get("/health").await;
    assert_eq!(response.status, 400);
    let message = response.json()["error"]["message"].to_string();
    assert!(message.contains("https://"), "{message}");
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_given_up() {
    let impatient = Timeouts {
        handshake: std::time::Duration::from_millis(50),
        ..PATIENT
    };
    let (server, certificate) = TlsServer::start(impatient).await;
    for start in ["", "\u{16}\u{3}\u{1}"] {
        let connection = server.endpoint.open_raw(start).await;
        assert_eq!(connection.until_closed().await, "");
    }
    assert!(server.is_trusted_with(&certificate).await);
}
