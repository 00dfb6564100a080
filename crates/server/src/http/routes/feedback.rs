//! `POST /v1/feedback`: what somebody says of an answer.

use axum::Json;
use axum::extract::State;
use farthing_api::FeedbackRequest;
use farthing_ledger::Feedback;
use serde_json::{Value, json};

use crate::clock::unix_microseconds;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::json_body::JsonBody;

pub(super) async fn create(
    State(app): State<App>,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let bookkeeper = app.books.bookkeeper.clone().ok_or(ApiError::NoLedger)?;
    let (request, _) = body.parse(FeedbackRequest::from_json).await?;
    let answer = json!({
        "object": "feedback",
        "request_id": request.request_id,
        "metric": request.metric,
    });
    bookkeeper
        .feedback(Feedback {
            request_id: request.request_id,
            metric: request.metric,
            value: request.value,
            comment: request.comment,
            source: "feedback".to_owned(),
            received_us: unix_microseconds(),
        })
        .await?;
    Ok(Json(answer))
}
