//! `GET /v1/models` and `GET /v1/models/{id}`

use axum::Json;
use axum::extract::{Path, State};
use farthing_api::{ModelCard, ModelList};

use crate::http::app::App;
use crate::http::error::ApiError;

pub(super) async fn list(State(app): State<App>) -> Json<ModelList> {
    Json(app.models.list())
}

/// `id` may contain slashes, as a hub id does.
pub(super) async fn retrieve(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<ModelCard>, ApiError> {
    let mut cards = app.models.list().data.into_iter();
    let card = cards.find(|card| card.id == id);
    card.map(Json).ok_or(ApiError::ModelNotFound(id))
}
