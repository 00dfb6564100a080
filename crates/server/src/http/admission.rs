//! What happens to a request before its route: it gets an id, and its sender is asked for a key.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument;

use super::app::App;
use super::error::ApiError;
use crate::random;

/// The address that a connection comes from, as an extension of its requests.
#[derive(Clone, Copy)]
pub(crate) struct Peer(pub IpAddr);

/// The id of a request: that of its answer where there is one. In the response it is the header
/// `x-request-id`, in the log the field `request_id`, in the ledger the column of that name.
#[derive(Clone)]
pub(crate) struct RequestId(pub String);

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Gives the request its id.
pub(super) async fn identify(mut request: Request, next: Next) -> Response {
    let prefix = match request.uri().path() {
        "/v1/chat/completions" => "chatcmpl",
        "/v1/completions" => "cmpl",
        _ => "req",
    };
    let id = random::answer_id(prefix);
    request.extensions_mut().insert(RequestId(id.clone()));
    let span = tracing::info_span!("http", request_id = id);
    let mut response = next.run(request).instrument(span).await;
    if let Ok(value) = HeaderValue::try_from(id) {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    response
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
