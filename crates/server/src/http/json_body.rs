//! The raw body of a JSON request.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};

use super::error::ApiError;

/// The size limit of a request body in bytes: enough for a context of a million tokens.
pub(crate) const MAX_BODY_BYTES: usize = 16 << 20;

/// How much of a wrong header an error shows.
const MAX_SHOWN_CHARS: usize = 40;

/// The time limit for a body, as an extension of its request.
#[derive(Clone, Copy)]
pub(crate) struct BodyTimeout(pub Duration);

/// A body of at most [`MAX_BODY_BYTES`]. It is parsed by the `api` crate.
pub(crate) struct JsonBody(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        if !is_json(request.headers()) {
            return Err(ApiError::NotJson);
        }
        if let Some(encoding) = encoding(request.headers()) {
            return Err(ApiError::EncodedBody(encoding));
        }
        // Refused before reading if the header gives the length, else while reading.
        if content_length(request.headers()).is_some_and(|length| length > MAX_BODY_BYTES as u64) {
            return Err(ApiError::BodyTooLarge {
                limit: MAX_BODY_BYTES,
            });
        }
        let timeout = request.extensions().get::<BodyTimeout>();
        let timeout = timeout.map_or(Duration::MAX, |timeout| timeout.0);
        let reading = Bytes::from_request(request, state);
        let read = tokio::time::timeout(timeout, reading).await;
        match read.map_err(|_| ApiError::BodyTooSlow { timeout })? {
            Ok(bytes) => Ok(Self(bytes)),
            Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Err(ApiError::BodyTooLarge {
                    limit: MAX_BODY_BYTES,
                })
            }
            Err(rejection) => Err(ApiError::BodyUnreadable(rejection.body_text())),
        }
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// How the body is compressed; `None` if it is not.
fn encoding(headers: &HeaderMap) -> Option<String> {
    let encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let mut texts = encodings.map(|value| String::from_utf8_lossy(value.as_bytes()));
    let is_none = |text: &str| text.is_empty() || text.eq_ignore_ascii_case("identity");
    texts
        .find(|text| !text.split(',').all(|encoding| is_none(encoding.trim())))
        .map(|text| text.chars().take(MAX_SHOWN_CHARS).collect())
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|content_type| content_type.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}
