//! The raw body of a JSON request.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRef, FromRequest, Request};
use axum::http::{HeaderMap, header};
use farthing_api::InvalidRequest;
use futures_util::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::ApiError;
use crate::lanes::{Lanes, SMALL_BYTES};

/// The size limit of a request body in bytes: enough for a context of a million tokens.
pub(crate) const MAX_BODY_BYTES: usize = 16 << 20;

/// Limit on the large bodies that are held at once.
const MAX_HELD_BYTES: usize = 256 << 20;

/// How much of a wrong header an error shows.
const MAX_SHOWN_CHARS: usize = 40;

/// The time limit for a body, as an extension of its request.
#[derive(Clone, Copy)]
pub(crate) struct BodyTimeout(pub Duration);

/// Limits the memory and the work of bodies. Cheap to clone.
///
/// The first [`SMALL_BYTES`] of a body are free, so that a flood of large bodies refuses no small one.
/// What is beyond counts as it arrives, not as it is declared: a sender that declares much and sends
/// nothing holds nothing.
#[derive(Clone)]
pub(crate) struct BodyLimits {
    held: Arc<Semaphore>,
    lanes: Lanes,
}

impl BodyLimits {
    pub(crate) fn new(lanes: Lanes) -> Self {
        Self {
            held: Arc::new(Semaphore::new(MAX_HELD_BYTES)),
            lanes,
        }
    }
}

/// A body of at most [`MAX_BODY_BYTES`]. It is parsed by the `api` crate.
pub(crate) struct JsonBody {
    bytes: Vec<u8>,
    held: HeldBytes,
    lanes: Lanes,
}

/// The right to hold a large body, or what was made of it.
pub(crate) struct HeldBytes(Option<OwnedSemaphorePermit>);

impl HeldBytes {
    /// Counts more bytes. Waiting for others would be a deadlock: they wait for room themselves.
    fn add(&mut self, limit: &Arc<Semaphore>, bytes: usize) -> Result<(), ApiError> {
        let more = limit.clone().try_acquire_many_owned(bytes as u32);
        let more = more.map_err(|_| ApiError::TooManyBodies)?;
        match &mut self.0 {
            Some(held) => held.merge(more),
            None => self.0 = Some(more),
        }
        Ok(())
    }
}

impl<S> FromRequest<S> for JsonBody
where
    S: Send + Sync,
    BodyLimits: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        if !is_json(request.headers()) {
            return Err(ApiError::NotJson);
        }
        if let Some(encoding) = encoding(request.headers()) {
            return Err(ApiError::EncodedBody(encoding));
        }
        // Refused before reading if the header gives the length, else while reading.
        let length = content_length(request.headers());
        if length.is_some_and(|length| length > MAX_BODY_BYTES as u64) {
            return Err(ApiError::BodyTooLarge {
                limit: MAX_BODY_BYTES,
            });
        }
        let timeout = request.extensions().get::<BodyTimeout>();
        let timeout = timeout.map_or(Duration::MAX, |timeout| timeout.0);
        let limits = BodyLimits::from_ref(state);
        let reading = Self::read(request, &limits);
        let read = tokio::time::timeout(timeout, reading).await;
        read.map_err(|_| ApiError::BodyTooSlow { timeout })?
    }
}

impl JsonBody {
    async fn read(request: Request, limits: &BodyLimits) -> Result<Self, ApiError> {
        let mut pieces = request.into_body().into_data_stream();
        let mut bytes = Vec::new();
        let mut held = HeldBytes(None);
        while let Some(piece) = pieces.next().await {
            let piece: Bytes =
                piece.map_err(|error| ApiError::BodyUnreadable(error.to_string()))?;
            let length = bytes.len() + piece.len();
            if length > MAX_BODY_BYTES {
                return Err(ApiError::BodyTooLarge {
                    limit: MAX_BODY_BYTES,
                });
            }
            let counted = |length: usize| length.saturating_sub(SMALL_BYTES);
            let more = counted(length) - counted(bytes.len());
            if more > 0 {
                held.add(&limits.held, more)?;
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(Self {
            bytes,
            held,
            lanes: limits.lanes.clone(),
        })
    }

    /// Parses the body, a large one in its turn. Hold the second result as long as the request's texts.
    pub(crate) async fn parse<T: Send + 'static>(
        self,
        parse: impl FnOnce(&[u8]) -> Result<T, InvalidRequest> + Send + 'static,
    ) -> Result<(T, HeldBytes), ApiError> {
        let Self { bytes, held, lanes } = self;
        if bytes.len() <= SMALL_BYTES {
            return Ok((parse(&bytes)?, held));
        }
        // The body is held until the work is done, also if its sender leaves meanwhile.
        let size = bytes.len();
        let done = lanes.run(size, move || (parse(&bytes), held)).await;
        let (parsed, held) = done.map_err(|error| ApiError::Failed(error.to_string()))?;
        Ok((parsed?, held))
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
