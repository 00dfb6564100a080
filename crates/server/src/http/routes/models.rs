//! `GET /v1/models` and `GET /v1/models/{id}`

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use farthing_api::{ModelCard, ModelList};

use crate::access::caller::Caller;
use crate::http::app::App;
use crate::http::error::ApiError;

/// Those that the caller's key may use.
pub(super) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> Json<ModelList> {
    Json(ModelList {
        data: cards(&app, &caller),
    })
}

/// `id` may contain slashes, as a hub id does.
pub(super) async fn retrieve(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<ModelCard>, ApiError> {
    let Path(id) = id?;
    let mut cards = cards(&app, &caller).into_iter();
    let card = cards.find(|card| card.id == id);
    card.map(Json).ok_or(ApiError::ModelNotFound(id))
}

/// The server's models, then the routes.
fn cards(app: &App, caller: &Caller) -> Vec<ModelCard> {
    let mut cards = app.models.list(caller).data;
    let in_force = app.gateway.in_force();
    let routes = in_force
        .routes
        .keys()
        .filter(|name| caller.may_use(name, true));
    cards.extend(routes.map(|name| app.models.route_card(name)));
    cards
}
