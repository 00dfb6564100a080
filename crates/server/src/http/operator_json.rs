//! JSON that an operator may read on a terminal.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::visible::visible_json;

/// A body of JSON with callers' texts in it. JSON itself escapes fewer characters than terminals obey.
pub(crate) struct OperatorJson<T>(pub T);

impl<T: Serialize> IntoResponse for OperatorJson<T> {
    fn into_response(self) -> Response {
        let json = serde_json::to_string(&self.0)
            .expect("the wire types have string keys and no failing serializers");
        let content_type = [(header::CONTENT_TYPE, "application/json")];
        (content_type, visible_json(&json)).into_response()
    }
}
