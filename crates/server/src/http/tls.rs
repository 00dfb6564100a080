//! The certificate of the server, and its renewal while the server runs.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use farthing_model::read_regular_file;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::reload::Reload;

/// The certificate and key that new connections use. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    files: Arc<PemFiles>,
    current: watch::Sender<Arc<ServerConfig>>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("certificate", &self.files.certificate)
            .finish_non_exhaustive()
    }
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not have what it should.
    #[error("{} has no usable {what}: {reason}", path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// What it should have.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// The key is another certificate's, or of an unknown kind.
    #[error("the certificate {} cannot be used with its key: {source}", path.display())]
    Unusable {
        /// The file of the certificate.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// Certificate chains have some kilobytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// How often the files are checked.
const CHECK_EVERY: Duration = Duration::from_secs(5);

impl Tls {
    /// Reads a certificate with its chain, and its private key.
    ///
    /// # Errors
    /// They cannot be read, or do not belong together.
    pub fn open(certificate: PathBuf, key: PathBuf) -> Result<Self, TlsError> {
        let files = PemFiles {
            certificate,
            key,
            seen: Mutex::default(),
        };
        let pair = files.read()?;
        files.is_new(&pair);
        let config = files.config(&pair)?;
        Ok(Self {
            files: Arc::new(files),
            current: watch::Sender::new(Arc::new(config)),
        })
    }

    /// Uses the files' present content for new connections.
    ///
    /// # Errors
    /// It cannot be used, and the earlier certificate stays.
    pub fn reload(&self) -> Result<(), TlsError> {
        let pair = self.files.read()?;
        self.files.is_new(&pair);
        self.current
            .send_replace(Arc::new(self.files.config(&pair)?));
        Ok(())
    }

    /// Reloads the files if their content has changed since it was last tried; `false` if it has not.
    fn reload_changed(&self) -> Result<bool, TlsError> {
        let pair = self.files.read()?;
        let is_new = self.files.is_new(&pair);
        if is_new {
            self.current
                .send_replace(Arc::new(self.files.config(&pair)?));
        }
        Ok(is_new)
    }

    /// Reloads the files when they change, and when that is requested.
    pub async fn keep_fresh(self, reload: Reload) {
        let mut requests = reload.requests();
        let mut last_error = None;
        loop {
            let is_requested = tokio::select! {
                () = tokio::time::sleep(CHECK_EVERY) => false,
                () = requests.next() => true,
            };
            let tls = self.clone();
            let reloading = tokio::task::spawn_blocking(move || {
                if is_requested {
                    tls.reload().map(|()| true)
                } else {
                    tls.reload_changed()
                }
            });
            let Ok(reloaded) = reloading.await else {
                return;
            };
            let error = reloaded.as_ref().err().map(ToString::to_string);
            match &error {
                // Files that are being replaced may be missing for several checks.
                Some(error) if is_requested || Some(error) != last_error.as_ref() => {
                    tracing::error!("the earlier TLS certificate stays in use: {error}");
                }
                None if matches!(reloaded, Ok(true)) => {
                    tracing::info!("the TLS certificate was reloaded");
                }
                _ => {}
            }
            last_error = error;
        }
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.borrow().clone())
    }
}

struct PemFiles {
    certificate: PathBuf,
    key: PathBuf,
    /// The hash of the last content that was tried.
    seen: Mutex<Option<[u8; 32]>>,
}

/// The content of both files.
struct PemPair {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl PemFiles {
    fn read(&self) -> Result<PemPair, TlsError> {
        let read = |path: &Path| {
            read_regular_file(path, MAX_FILE_BYTES).map_err(|source| TlsError::Unreadable {
                path: path.to_owned(),
                source,
            })
        };
        Ok(PemPair {
            certificate: read(&self.certificate)?,
            key: read(&self.key)?,
        })
    }

    /// Whether the content is another than the one before. It counts as tried from now on.
    fn is_new(&self, pair: &PemPair) -> bool {
        let mut hash = Sha256::new();
        hash.update((pair.certificate.len() as u64).to_le_bytes());
        hash.update(&pair.certificate);
        hash.update(&pair.key);
        let hash = Some(hash.finalize().into());
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *seen, hash) != hash
    }

    fn config(&self, pair: &PemPair) -> Result<ServerConfig, TlsError> {
        let not_pem = |path: &Path, what, error: pem::Error| TlsError::NotPem {
            path: path.to_owned(),
            what,
            reason: error.to_string(),
        };
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pair.certificate)
            .collect::<Result<_, _>>()
            .map_err(|error| not_pem(&self.certificate, "certificate", error))?;
        if certificates.is_empty() {
            let none = pem::Error::NoItemsFound;
            return Err(not_pem(&self.certificate, "certificate", none));
        }
        let key = PrivateKeyDer::from_pem_slice(&pair.key)
            .map_err(|error| not_pem(&self.key, "private key", error))?;
        let unusable = |source| TlsError::Unusable {
            path: self.certificate.clone(),
            source,
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .map_err(unusable)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}
