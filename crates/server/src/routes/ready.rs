//! `GET /ready`: a request sent now would be answered. The port opens after the first token was
//! generated, so it is enough that the engine lives and nobody has asked us to go.

use axum::extract::State;

use crate::{ApiError, App};

pub(super) async fn check(State(app): State<App>) -> Result<(), ApiError> {
    if !app.local.backend.is_alive() {
        return Err(ApiError::EngineDead);
    }
    match app.lifecycle().is_serving() {
        true => Ok(()),
        false => Err(ApiError::ShuttingDown),
    }
}
