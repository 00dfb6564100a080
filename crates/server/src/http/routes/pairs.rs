//! `GET /v1/experiments/{id}/pairs` and `POST /v1/experiments/{id}/votes`: people compare two answers without
//! knowing which arm gave which.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use farthing_api::{VoteChoice, VoteRequest};
use serde_json::{Value, json};

use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::json_body::JsonBody;

/// The metric of votes.
const METRIC: &str = "vote";

pub(super) async fn list(
    State(app): State<App>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let Path(id) = id?;
    let pairs = app.gateway.pairs().of(&id).into_iter().map(|pair| {
        let [client, shadow] = pair.answers;
        let (left, right) = if pair.is_shadow_left {
            (shadow, client)
        } else {
            (client, shadow)
        };
        json!({
            "request_id": pair.request_id,
            "question": pair.question,
            "left": left,
            "right": right,
        })
    });
    Ok(Json(
        json!({"object": "list", "data": pairs.collect::<Vec<_>>()}),
    ))
}

/// A pair is voted on once.
pub(super) async fn vote(
    State(app): State<App>,
    id: Result<Path<String>, PathRejection>,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let Path(id) = id?;
    let bookkeeper = app.books.bookkeeper.clone().ok_or(ApiError::NoLedger)?;
    let (request, _) = body.parse(VoteRequest::from_json).await?;
    let VoteRequest { request_id, choice } = request;
    let Some(pair) = app.gateway.pairs().take(&id, &request_id) else {
        return Err(ApiError::UnknownAnswer(request_id));
    };
    let is_shadow = match choice {
        VoteChoice::Left => Some(pair.is_shadow_left),
        VoteChoice::Right => Some(!pair.is_shadow_left),
        VoteChoice::Tie | VoteChoice::BothBad => None,
    };
    let answer = json!({"object": "vote", "request_id": request_id});
    let comment = (choice == VoteChoice::BothBad).then_some("both are bad");
    for feedback in pair.feedback(METRIC, "vote", is_shadow, comment) {
        bookkeeper.feedback(feedback).await?;
    }
    Ok(Json(answer))
}
