//! Why a request fails, and the only place that chooses HTTP status codes.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use farthing_api::{ErrorBody, ErrorDetail, InvalidRequest};
use farthing_keys::{RateLimited, RefusedKey};
use farthing_vendors::VendorError;

use crate::adapters::AdapterError;
use crate::request::provider_error::{ProviderError, VendorFailure};

/// Why a request gets no answer, or only a part of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The request is invalid.
    #[error(transparent)]
    Invalid(#[from] InvalidRequest),
    /// No model or adapter has this name.
    #[error("The model `{0}` does not exist: GET /v1/models lists those that do.")]
    ModelNotFound(String),
    /// A vendor failed.
    #[error("{}", vendor_message(.0))]
    Vendor(Box<VendorFailure>),
    /// The engine gave no content in the time that the route allows.
    #[error("The model gave no content within {:.1} s.", .limit.as_secs_f64())]
    NoContentInTime {
        /// The limit.
        limit: Duration,
    },
    /// A route has no arm of this name.
    #[error("The route `{route}` has no arm `{arm}`.")]
    UnknownArm {
        /// The name.
        arm: String,
        /// The route.
        route: String,
    },
    /// The caller may not choose an arm.
    #[error(
        "The route `{0}` does not let callers choose an arm (`clients_may_choose` in its file)."
    )]
    ArmNotAllowed(String),
    /// A route answers chats only.
    #[error("The model `{0}` is a route, and routes answer /v1/chat/completions only.")]
    RouteNotAllowed(String),
    /// No experiment has this id.
    #[error("There is no experiment `{0}`: GET /v1/experiments lists those that there are.")]
    UnknownExperiment(String),
    /// Feedback to an answer that nobody knows.
    #[error("No answer has the id `{0}`: send the `id` of the answer, or its header x-request-id.")]
    UnknownAnswer(String),
    /// An adapter cannot be loaded, unloaded or used.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// The server has no admin key.
    #[error(
        "This is for the operator, and this server has no admin key: start it with one \
         (FARTHING_ADMIN_KEY) and send the key as 'Authorization: Bearer KEY'"
    )]
    AdminOff,
    /// The request has no admin key or a wrong one.
    #[error("Incorrect admin key provided: send it as 'Authorization: Bearer KEY'")]
    BadAdminKey,
    /// The request has no key, and the server wants one.
    #[error(
        "You didn't provide an API key. You need to provide your API key in an Authorization header \
         using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
    )]
    NoKey,
    /// The request's key is refused.
    #[error("{0} Ask the operator of this server for a key.")]
    RefusedKey(RefusedKey),
    /// An address sent too many wrong keys.
    #[error("Too many incorrect API keys from this address. Try again later.")]
    TooManyWrongKeys {
        /// Until the next one is looked at.
        retry_after: Duration,
    },
    /// A caller's key on a route of the operator.
    #[error(
        "You have insufficient permissions for this operation: it needs the admin key of this server."
    )]
    CallerIsNoOperator,
    /// The admin key on a route of callers.
    #[error("The admin key is not for requests to models: send a key of `farthing keys add`.")]
    OperatorIsNoCaller,
    /// The key does not allow the model.
    #[error("This API key does not have access to model `{0}`.")]
    ModelNotAllowed(String),
    /// The key's rate is used up.
    #[error(transparent)]
    RateLimited(#[from] RateLimited),
    /// The key has spent what it may spend today.
    #[error(
        "You exceeded your current quota: this API key has spent its dollars for today. The day ends at \
         midnight in UTC."
    )]
    OverBudget,
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
    /// The large bodies that are held take all the memory for them.
    #[error("Too many large requests are being read. Try again later, or send a smaller one.")]
    TooManyBodies,
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
    /// The caller's id of the request is malformed.
    #[error("Invalid 'X-Client-Request-Id' header: expected at most 512 ASCII characters.")]
    BadClientRequestId,
    /// The host is missing or malformed, or there are several.
    #[error("{0}: send one, the server's name or address and its port")]
    BadHost(&'static str),
    /// The server does not answer for this host name.
    #[error(
        "This server does not answer for the host {0}: use localhost or an address, or start the \
         server with the option allowed-host={0}"
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
    /// The request was cancelled because too much of its answer was not read.
    #[error(
        "The answer was cancelled because too much of it waited to be read: read the stream as it \
         arrives, or ask for fewer choices or log-probabilities"
    )]
    NotRead,
    /// The request was cancelled because its answer, which is not streamed, is too large.
    #[error(
        "The answer was cancelled because it takes more than {} MiB of the server's memory: stream it, or \
         ask for fewer choices, tokens or log-probabilities",
        limit >> 20
    )]
    AnswerTooLarge {
        /// What a whole answer may hold, in bytes.
        limit: usize,
    },
    /// The request was cancelled because many large answers are collected at once.
    #[error(
        "The answer was cancelled because it and other large ones take all memory for answers: stream it, \
         or try again later"
    )]
    TooManyAnswers,
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
    #[error(
        "The ledger cannot be read now: its database failed or did not answer in time. Try again later \
         or for a shorter time; the server's log has the reason."
    )]
    LedgerUnreadable,
    /// Something that must be in the ledger cannot be written there.
    #[error("The ledger of this server does not accept entries now. Try again later.")]
    LedgerUnwritable,
}

impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> Self {
        Self::unreadable_url(rejection.body_text())
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self::unreadable_url(rejection.body_text())
    }
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
            ProviderError::RateLimited(limited) => Self::RateLimited(limited),
            ProviderError::OverBudget => Self::OverBudget,
            ProviderError::NotRead => Self::NotRead,
            ProviderError::Vendor(failure) => Self::Vendor(failure),
            ProviderError::Failed(message) => Self::Failed(message),
            ProviderError::Unavailable => Self::EngineDead,
        }
    }
}

/// The `Retry-After` of a full queue: most answers free a place within seconds.
const QUEUE_RETRY_AFTER: Duration = Duration::from_secs(1);

/// OpenAI's clients do not retry a response with this header, however long they would wait.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

impl ApiError {
    fn unreadable_url(message: String) -> Self {
        Self::Invalid(InvalidRequest {
            message,
            param: None,
            code: None,
        })
    }

    /// The HTTP status if the error occurs before the first byte of the response.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Invalid(_)
            | Self::BodyUnreadable(_)
            | Self::BadClientRequestId
            | Self::BadHost(_)
            | Self::UnknownArm { .. }
            | Self::RouteNotAllowed(_)
            | Self::NotTls
            | Self::AnswerTooLarge { .. } => StatusCode::BAD_REQUEST,
            Self::ModelNotFound(_)
            | Self::UnknownUrl { .. }
            | Self::UnknownAnswer(_)
            | Self::UnknownExperiment(_) => StatusCode::NOT_FOUND,
            Self::Vendor(failure) => vendor_status(&failure.error),
            Self::NoContentInTime { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::Adapter(error) => adapter_status(error),
            Self::AdminOff
            | Self::CallerIsNoOperator
            | Self::OperatorIsNoCaller
            | Self::ModelNotAllowed(_)
            | Self::ArmNotAllowed(_)
            | Self::HostNotAllowed(_) => StatusCode::FORBIDDEN,
            Self::BadAdminKey | Self::NoKey | Self::RefusedKey(_) => StatusCode::UNAUTHORIZED,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTooSlow { .. } | Self::NotRead => StatusCode::REQUEST_TIMEOUT,
            Self::NotJson | Self::EncodedBody(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::QueueFull { .. }
            | Self::TooManyWrongKeys { .. }
            | Self::RateLimited(_)
            | Self::OverBudget => StatusCode::TOO_MANY_REQUESTS,
            Self::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NoLedger => StatusCode::NOT_FOUND,
            Self::TooManyBodies
            | Self::TooManyAnswers
            | Self::EngineDead
            | Self::ShuttingDown
            | Self::LedgerFull
            | Self::LedgerUnreadable
            | Self::LedgerUnwritable
            | Self::TooManyConnections => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// When it is worth trying again; `None` if trying again soon is no use.
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited(limited) => limited.retry_after(),
            Self::TooManyWrongKeys { retry_after } => Some(*retry_after),
            Self::OverBudget => None,
            Self::Vendor(failure) => failure.error.retry_after(),
            _ => Some(QUEUE_RETRY_AFTER),
        }
    }

    /// The error in OpenAI's format.
    pub fn body(&self) -> ErrorBody {
        let kind = match self.status() {
            _ if matches!(self, Self::OverBudget) => "insufficient_quota",
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
            Self::BadAdminKey | Self::RefusedKey(_) => (None, Some("invalid_api_key")),
            Self::ModelNotAllowed(_) => (Some("model".to_owned()), Some("model_not_found")),
            Self::CallerIsNoOperator | Self::OperatorIsNoCaller => {
                (None, Some("insufficient_permissions"))
            }
            Self::OverBudget => (None, Some("insufficient_quota")),
            Self::Vendor(failure) => vendor_param_and_code(&failure.error),
            Self::UnknownArm { .. } | Self::ArmNotAllowed(_) => (None, Some("unknown_arm")),
            Self::RouteNotAllowed(_) => (Some("model".to_owned()), Some("model_not_supported")),
            Self::UnknownExperiment(_) => (None, Some("unknown_experiment")),
            Self::UnknownAnswer(_) => (Some("request_id".to_owned()), Some("unknown_answer")),
            Self::NoContentInTime { .. } => (None, Some("timeout")),
            Self::UnknownUrl { .. } => (None, Some("unknown_url")),
            Self::NoLedger => (None, Some("no_ledger")),
            Self::NotRead => (None, Some("answer_not_read")),
            Self::AnswerTooLarge { .. } => (None, Some("answer_too_large")),
            Self::HostNotAllowed(_) => (None, Some("host_not_allowed")),
            Self::MethodNotAllowed { .. } => (None, Some("method_not_supported")),
            Self::QueueFull { .. } | Self::RateLimited(_) | Self::TooManyWrongKeys { .. } => {
                (None, Some("rate_limit_exceeded"))
            }
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

/// A vendor's own text is about the request only where it refuses it. Others may tell of the operator's
/// account, so that they are only in the log.
fn vendor_message(failure: &VendorFailure) -> String {
    let VendorFailure { vendor, error } = failure;
    match error {
        VendorError::Status {
            status: status @ (401 | 403 | 404),
            ..
        } => format!("{vendor} refuses this server's request with status {status}."),
        error => format!("{vendor}: {error}."),
    }
}

/// A vendor is a gateway's upstream: 502 and 504 say that it failed, and a 400 is the caller's.
fn vendor_status(error: &VendorError) -> StatusCode {
    match error {
        _ if error.is_context_too_long() => StatusCode::BAD_REQUEST,
        VendorError::Untranslatable { .. } => StatusCode::BAD_REQUEST,
        VendorError::CoolingDown { .. }
        | VendorError::Busy { .. }
        | VendorError::SpendCapReached
        | VendorError::CostUnknown(_) => StatusCode::TOO_MANY_REQUESTS,
        VendorError::FirstContentTimeout(_)
        | VendorError::IdleTimeout(_)
        | VendorError::TotalTimeout(_) => StatusCode::GATEWAY_TIMEOUT,
        VendorError::Status { status, .. } => match status {
            429 => StatusCode::TOO_MANY_REQUESTS,
            400 | 413 | 422 => StatusCode::BAD_REQUEST,
            _ => StatusCode::BAD_GATEWAY,
        },
        VendorError::Connect(_)
        | VendorError::InBand { .. }
        | VendorError::Broken(_)
        | VendorError::Truncated
        | VendorError::MissingChoices { .. }
        | VendorError::Malformed { .. } => StatusCode::BAD_GATEWAY,
    }
}

fn vendor_param_and_code(error: &VendorError) -> (Option<String>, Option<&'static str>) {
    match error {
        VendorError::Untranslatable { parameter, .. } => {
            (Some(parameter.clone()), Some("unsupported_parameter"))
        }
        VendorError::SpendCapReached | VendorError::CostUnknown(_) => {
            (None, Some("vendor_budget_used_up"))
        }
        _ if error.is_context_too_long() => (None, Some("context_length_exceeded")),
        _ => (None, Some("vendor_error")),
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
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if status == StatusCode::TOO_MANY_REQUESTS {
            match self.retry_after() {
                Some(wait) => {
                    let seconds = wait.as_secs_f64().ceil() as u64;
                    headers.insert(header::RETRY_AFTER, seconds.max(1).into());
                }
                None => {
                    headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
                }
            }
        }
        if matches!(self, Self::EncodedBody(_)) {
            let identity = HeaderValue::from_static("identity");
            headers.insert(header::ACCEPT_ENCODING, identity);
        }
        response
    }
}
