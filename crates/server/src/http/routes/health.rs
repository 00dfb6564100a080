//! `GET /health`: process and engine are alive.

use axum::extract::State;

use crate::http::app::App;
use crate::http::error::ApiError;

pub(super) async fn check(State(app): State<App>) -> Result<(), ApiError> {
    match app.local.backend.is_alive() {
        true => Ok(()),
        false => Err(ApiError::EngineDead),
    }
}
