//! `POST /v1/chat/completions`

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use farthing_api::ChatRequest;

use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::json_body::JsonBody;
use crate::http::sse;

/// A client that leaves drops this future, or the stream it returned, and with it the sequences.
pub(super) async fn create(State(app): State<App>, body: JsonBody) -> Result<Response, ApiError> {
    let request = ChatRequest::from_json(&body.0)?;
    let answer = app.local.chat(&request, &app.escort).await?;
    match request.stream {
        Some(options) => Ok(sse::respond(answer.chunks(options))),
        None => Ok(Json(answer.whole().await?).into_response()),
    }
}
