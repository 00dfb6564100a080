//! Answers that are sent whole.

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::error::ApiError;
use crate::lanes::{Lanes, SMALL_BYTES};
use crate::request::answer_memory::{AnswerMemory, HeldAnswer};

/// Limits the memory and the work of whole answers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct WholeAnswers {
    pub memory: AnswerMemory,
    lanes: Lanes,
}

/// The bytes of an answer, which count until the connection has sent them.
struct SentJson {
    json: Vec<u8>,
    _held: HeldAnswer,
}

impl AsRef<[u8]> for SentJson {
    fn as_ref(&self) -> &[u8] {
        &self.json
    }
}

impl WholeAnswers {
    pub(crate) fn new(lanes: Lanes) -> Self {
        Self {
            memory: AnswerMemory::default(),
            lanes,
        }
    }

    /// The response with this answer. A large one is written off the threads that serve connections.
    ///
    /// # Errors
    /// Writing it panicked.
    pub(crate) async fn respond<T: Serialize + Send + 'static>(
        &self,
        (answer, held): (T, HeldAnswer),
    ) -> Result<Response, ApiError> {
        let size = held.bytes();
        let write = move || SentJson {
            json: serde_json::to_vec(&answer)
                .expect("the wire types have string keys and no failing serializers"),
            _held: held,
        };
        let json = if size <= SMALL_BYTES {
            write()
        } else {
            let written = self.lanes.run(size, write).await;
            written.map_err(|error| ApiError::Failed(error.to_string()))?
        };
        let body = Body::from(Bytes::from_owner(json));
        Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
    }
}
