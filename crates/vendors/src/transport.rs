//! The HTTP client of one vendor.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Client;
use reqwest::redirect::Policy;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;

use crate::config_error::ConfigProblem;

/// An idle connection is kept this long.
const POOL_IDLE: Duration = Duration::from_secs(90);

/// A client with its own pool. It follows no redirect, because a redirect would carry the key and
/// the request to another address, and it uses the proxies that the environment names.
pub(crate) fn client(is_https: bool, connect: Duration) -> Result<Client, ConfigProblem> {
    let tls = |error: &dyn std::fmt::Display| ConfigProblem::Tls(error.to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| tls(&error))?;
    let mut config = if is_https {
        let builder = builder
            .with_platform_verifier()
            .map_err(|error| tls(&error))?;
        builder.with_no_client_auth()
    } else {
        // Without TLS, a machine needs no roots. A redirect to https is not followed.
        builder
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth()
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Client::builder()
        .tls_backend_preconfigured(config)
        .redirect(Policy::none())
        .referer(false)
        .retry(reqwest::retry::never())
        .connect_timeout(connect)
        .pool_idle_timeout(POOL_IDLE)
        .user_agent(concat!("farthing/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| tls(&error.without_url()))
}
