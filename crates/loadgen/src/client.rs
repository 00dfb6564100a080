//! The HTTP client.

use std::env;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

use crate::target::Target;

/// A connection pool and the API key.
#[derive(Clone)]
pub(crate) struct HttpClient {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    key: Option<HeaderValue>,
    timeout: Duration,
}

/// Why the client cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The system has no certificates to trust, or TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[source] Box<dyn Error + Send + Sync>),
    /// The environment variable is not set.
    #[error("the environment variable {0} with the API key is not set")]
    NoKey(String),
    /// The key contains characters that are not allowed in a header.
    #[error("the API key in {0} contains characters that are not allowed in an HTTP header")]
    BadKey(String),
}

/// Why a request got no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("{}", with_causes(.0))]
    Client(#[from] hyper_util::client::legacy::Error),
    #[error("{}", with_causes(.0.as_ref()))]
    Body(Box<dyn Error + Send + Sync>),
    #[error("no answer within {} s", .0.as_secs_f64())]
    Timeout(Duration),
    #[error("{0}")]
    Request(#[from] hyper::http::Error),
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Answers that are not streamed are short.
const MAX_BODY_BYTES: usize = 16 << 20;

impl HttpClient {
    /// A client for `target`. The API key is read from the environment variable `key_name` and is
    /// only used in request headers. `timeout` applies to a whole answer.
    ///
    /// # Errors
    /// The key or the trusted certificates are missing.
    pub(crate) fn new(
        target: &Target,
        key_name: Option<&str>,
        timeout: Duration,
    ) -> Result<Self, ClientError> {
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| ClientError::Tls(error.into()))?;
        let tls = if target.is_https() {
            tls.with_native_roots()
                .map_err(|error| ClientError::Tls(error.into()))?
        } else {
            tls.with_root_certificates(RootCertStore::empty())
        };
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls.with_no_client_auth())
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Ok(Self {
            client: Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .build(connector),
            key: key_name.map(key).transpose()?,
            timeout,
        })
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Sends a request and returns the head of the response.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: &str,
        body: Option<Bytes>,
        accept: &'static str,
    ) -> Result<Response<Incoming>, RequestError> {
        let mut request = Request::builder()
            .method(method)
            .uri(url)
            .header(ACCEPT, accept);
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, key);
        }
        let request = request.body(Full::new(body.unwrap_or_default()))?;
        Ok(self.client.request(request).await?)
    }

    /// Returns the status and body of a response that is not streamed.
    pub(crate) async fn whole(
        &self,
        method: Method,
        url: &str,
        body: Option<Bytes>,
    ) -> Result<(StatusCode, Bytes), RequestError> {
        let whole = async {
            let response = self.send(method, url, body, "application/json").await?;
            let status = response.status();
            Ok((status, read_all(response).await?))
        };
        let in_time = tokio::time::timeout(self.timeout, whole).await;
        in_time.unwrap_or(Err(RequestError::Timeout(self.timeout)))
    }
}

/// The body, up to the size limit.
pub(crate) async fn read_all(response: Response<Incoming>) -> Result<Bytes, RequestError> {
    let body = Limited::new(response.into_body(), MAX_BODY_BYTES);
    let collected = body.collect().await.map_err(RequestError::Body)?;
    Ok(collected.to_bytes())
}

fn key(name: &str) -> Result<HeaderValue, ClientError> {
    let key = env::var(name).map_err(|_| ClientError::NoKey(name.to_owned()))?;
    let mut value = HeaderValue::from_str(&format!("Bearer {}", key.trim()))
        .map_err(|_| ClientError::BadKey(name.to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The error with its causes. hyper's own message is only "client error (Connect)".
pub(crate) fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        cause = error.source();
    }
    text
}
