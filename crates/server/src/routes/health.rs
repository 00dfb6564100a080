//! `GET /health`: process and engine are alive.

use axum::extract::State;

use crate::{ApiError, App};

pub(super) async fn check(State(app): State<App>) -> Result<(), ApiError> {
    match app.local.backend.is_alive() {
        true => Ok(()),
        false => Err(ApiError::EngineDead),
    }
}
