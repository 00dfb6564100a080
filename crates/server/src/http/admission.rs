//! What happens to a request before its route: it gets an id, and its sender is asked for a key.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument;

use super::app::App;
use super::error::ApiError;
use crate::random;

/// The address that a connection comes from, as an extension of its requests.
#[derive(Clone, Copy)]
pub(crate) struct Peer(pub IpAddr);

/// What a request is called.
#[derive(Clone)]
pub(crate) struct RequestIds {
    /// Our id, which is that of the answer where there is one. In the response it is the header
    /// `x-request-id`, in the log the field `request_id`, in the ledger the column of that name.
    pub id: String,
    /// The caller's own id: OpenAI's header `x-client-request-id`. It is only logged.
    pub client_id: Option<String>,
}

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-client-request-id");

/// OpenAI's limit.
const MAX_CLIENT_ID_BYTES: usize = 512;

/// Gives the request its ids.
pub(super) async fn identify(mut request: Request, next: Next) -> Response {
    let prefix = match request.uri().path() {
        "/v1/chat/completions" => "chatcmpl",
        "/v1/completions" => "cmpl",
        _ => "req",
    };
    let id = random::answer_id(prefix);
    let client_id = client_id(request.headers());
    let shown = client_id.clone().unwrap_or_default();
    let span = tracing::info_span!("http", request_id = id, client_request_id = shown);
    let ids = client_id.map(|client_id| RequestIds {
        id: id.clone(),
        client_id,
    });
    let answer = async {
        match ids {
            Ok(ids) => {
                request.extensions_mut().insert(ids);
                next.run(request).await
            }
            Err(error) => error.into_response(),
        }
    };
    let mut response = answer.instrument(span).await;
    if let Ok(value) = HeaderValue::try_from(id) {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    response
}

/// The caller's id of a request.
///
/// # Errors
/// It is malformed, which OpenAI refuses too.
fn client_id(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get(X_CLIENT_REQUEST_ID) else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(id) if id.len() <= MAX_CLIENT_ID_BYTES => Ok(Some(id.to_owned())),
        _ => Err(ApiError::BadClientRequestId),
    }
}

/// Admits callers, and counts their requests.
pub(super) async fn admit_caller(
    State(app): State<App>,
    mut request: Request,
    next: Next,
) -> Response {
    let caller = match app.access.caller(request.headers(), peer(&request)) {
        Ok(caller) => caller,
        Err(error) => return error.into_response(),
    };
    let mut response = match caller.take_request() {
        Ok(()) => {
            request.extensions_mut().insert(caller.clone());
            next.run(request).await
        }
        Err(error) => error.into_response(),
    };
    caller.write_rates(response.headers_mut());
    response
}

/// Admits whoever may read what all callers do.
pub(super) async fn admit_reader(
    State(app): State<App>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    app.access
        .read_as_operator(request.headers(), peer(&request))?;
    Ok(next.run(request).await)
}

/// Admits whoever may read what each tenant does.
pub(super) async fn admit_accountant(
    State(app): State<App>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    app.access.read_tenants(request.headers(), peer(&request))?;
    Ok(next.run(request).await)
}

/// Admits the operator.
pub(super) async fn admit_operator(
    State(app): State<App>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    app.access.operator(request.headers(), peer(&request))?;
    Ok(next.run(request).await)
}

fn peer(request: &Request) -> Option<IpAddr> {
    Some(request.extensions().get::<Peer>()?.0)
}
