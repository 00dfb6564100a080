//! Why a request fails, and the only place that chooses HTTP status codes.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use farthing_api::{ErrorBody, ErrorDetail, InvalidRequest};

use crate::adapters::AdapterError;
use crate::request::provider_error::ProviderError;

/// Why a request gets no answer, or only a part of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The request is invalid.
    #[error(transparent)]
    Invalid(#[from] InvalidRequest),
    /// No model or adapter has this name.
    #[error("The model `{0}` does not exist: GET /v1/models lists those that do.")]
    ModelNotFound(String),
    /// An adapter cannot be loaded, unloaded or used.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// The server has no admin key.
    #[error(
        "Loading and unloading adapters is off: start the server with an admin key \
         (FARTHING_ADMIN_KEY) and send the key as 'Authorization: Bearer KEY'"
    )]
    AdminOff,
    /// The request has no admin key or a wrong one.
    #[error("Incorrect admin key provided: send it as 'Authorization: Bearer KEY'")]
    BadAdminKey,
    /// No route has this path.
    #[error("Invalid URL ({method} {path})")]
    UnknownUrl {
        /// The method of the request.
        method: Method,
        /// The path of the request.
        path: String,
    },
    /// The route does not support this method.
    #[error("Not allowed to {method} on {path}")]
    MethodNotAllowed {
        /// The method of the request.
        method: Method,
        /// The path of the request.
        path: String,
    },
    /// The body is above the size limit.
    #[error("The request body is larger than {limit} bytes")]
    BodyTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The body takes too long to arrive.
    #[error("The request body did not arrive within {timeout:?}")]
    BodyTooSlow {
        /// The time limit.
        timeout: Duration,
    },
    /// The body is not declared as JSON.
    #[error("The request body must be JSON: send the header 'Content-Type: application/json'")]
    NotJson,
    /// The body is compressed.
    #[error(
        "The request body must not be compressed (Content-Encoding: {0}): send it as it is, \
         without this header"
    )]
    EncodedBody(String),
    /// The connection broke while the body was read.
    #[error("The request body could not be read: {0}")]
    BodyUnreadable(String),
    /// The host is missing or malformed, or there are several.
    #[error("{0}: send one, the server's name or address and its port")]
    BadHost(&'static str),
    /// The server does not answer for this host name.
    #[error(
        "This server does not answer for the host {0}: use localhost or an address, or start the \
         server with --allowed-host {0}"
    )]
    HostNotAllowed(String),
    /// The connection has no TLS.
    #[error("This server uses TLS: send the request to its https:// address")]
    NotTls,
    /// All connections are in use.
    #[error("The server has no room for another connection. Try again later.")]
    TooManyConnections,
    /// The queue is full.
    #[error("The queue is full for this model ({limit} places in total). Try again later.")]
    QueueFull {
        /// The number of sequences that may wait or run at once.
        limit: usize,
    },
    /// The engine failed this request.
    #[error("The engine failed this request: {0}")]
    Failed(String),
    /// The engine is not running.
    #[error("The engine is not running")]
    EngineDead,
    /// The server is shutting down.
    #[error("The server is shutting down")]
    ShuttingDown,
    /// The ledger has no room, and a request that cannot be recorded is not started.
    #[error("The ledger has no room: its database is slow or unreachable. Try again later.")]
    LedgerFull,
    /// The server has no ledger.
    #[error(
        "This server keeps no ledger: start it with a file or a postgres:// URL as its ledger (FARTHING_LEDGER)"
    )]
    NoLedger,
    /// The ledger cannot be read. The log has the details.
    #[error("The ledger cannot be read")]
    LedgerUnreadable,
}

impl From<ProviderError> for ApiError {
    fn from(error: ProviderError) -> Self {
        match error {
            ProviderError::Invalid(error) => Self::Invalid(error),
            ProviderError::ModelNotFound(name) => Self::ModelNotFound(name),
            ProviderError::Adapter(error) => Self::Adapter(error),
            ProviderError::QueueFull { limit } | ProviderError::AdapterQueueFull { limit } => {
                Self::QueueFull { limit }
            }
            error @ ProviderError::TooManyChoices { .. } => {
                InvalidRequest::value("n", error.to_string()).into()
            }
            ProviderError::Failed(message) => Self::Failed(message),
            ProviderError::Unavailable => Self::EngineDead,
        }
    }
}

/// The `Retry-After` of a 429: most answers free a place within seconds.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

impl ApiError {
    /// The HTTP status if the error occurs before the first byte of the response.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) | Self::BodyUnreadable(_) | Self::BadHost(_) | Self::NotTls => {
                StatusCode::BAD_REQUEST
            }
            Self::ModelNotFound(_) | Self::UnknownUrl { .. } => StatusCode::NOT_FOUND,
            Self::Adapter(error) => adapter_status(error),
            Self::AdminOff | Self::HostNotAllowed(_) => StatusCode::FORBIDDEN,
            Self::BadAdminKey => StatusCode::UNAUTHORIZED,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTooSlow { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::NotJson | Self::EncodedBody(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::QueueFull { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NoLedger => StatusCode::NOT_FOUND,
            Self::EngineDead
            | Self::ShuttingDown
            | Self::LedgerFull
            | Self::LedgerUnreadable
            | Self::TooManyConnections => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The error in OpenAI's format.
    pub fn body(&self) -> ErrorBody {
        let kind = match self.status() {
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            StatusCode::SERVICE_UNAVAILABLE => "service_unavailable_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        let (param, code) = match self {
            Self::Invalid(refusal) => (refusal.param.clone(), refusal.code),
            Self::ModelNotFound(_) => (Some("model".to_owned()), Some("model_not_found")),
            Self::Adapter(AdapterError::Unknown(_)) => {
                (Some("lora_name".to_owned()), Some("model_not_found"))
            }
            Self::Adapter(AdapterError::NotLoadable(_) | AdapterError::Unreachable(_)) => {
                (Some("model".to_owned()), None)
            }
            Self::BadAdminKey => (None, Some("invalid_api_key")),
            Self::UnknownUrl { .. } => (None, Some("unknown_url")),
            Self::NoLedger => (None, Some("no_ledger")),
            Self::HostNotAllowed(_) => (None, Some("host_not_allowed")),
            Self::MethodNotAllowed { .. } => (None, Some("method_not_supported")),
            Self::QueueFull { .. } => (None, Some("rate_limit_exceeded")),
            _ => (None, None),
        };
        ErrorBody {
            error: ErrorDetail {
                message: self.to_string(),
                kind,
                param,
                code,
            },
        }
    }
}

/// vLLM's status codes: files that exist but cannot be served are a 500.
fn adapter_status(error: &AdapterError) -> StatusCode {
    match error {
        AdapterError::NameTaken(_)
        | AdapterError::NameOfBase(_)
        | AdapterError::NotLoadable(_)
        | AdapterError::Off => StatusCode::BAD_REQUEST,
        AdapterError::Unreachable(_) => StatusCode::SERVICE_UNAVAILABLE,
        AdapterError::Unknown(_) | AdapterError::NotThere { .. } => StatusCode::NOT_FOUND,
        AdapterError::RankTooHigh { .. }
        | AdapterError::Refused { .. }
        | AdapterError::NoRoom { .. } => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        let body = self.body();
        let ErrorDetail { param, code, .. } = &body.error;
        tracing::info!(status = status.as_u16(), param, code, "refused");
        let mut response = (status, Json(body)).into_response();
        if status == StatusCode::TOO_MANY_REQUESTS {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        if matches!(self, Self::EncodedBody(_)) {
            let identity = HeaderValue::from_static("identity");
            response
                .headers_mut()
                .insert(header::ACCEPT_ENCODING, identity);
        }
        response
    }
}
