//! `GET /health`: the process and its engine are alive.

use axum::extract::State;

use crate::http::app::App;
use crate::http::error::ApiError;

pub(super) async fn check(State(app): State<App>) -> Result<(), ApiError> {
    if app.provider.is_alive() {
        Ok(())
    } else {
        Err(ApiError::EngineDead)
    }
}
