//! `GET /ready`: a request sent now would be answered. The port opens after the first token was
//! generated, so this only checks that the engine is alive, the server is not shutting down and the
//! ledger has room.

use axum::extract::State;

use crate::http::app::App;
use crate::http::error::ApiError;

pub(super) async fn check(State(app): State<App>) -> Result<(), ApiError> {
    if !app.provider.is_alive() {
        return Err(ApiError::EngineDead);
    }
    if !app.lifecycle.is_serving() {
        return Err(ApiError::ShuttingDown);
    }
    match &app.books.bookkeeper {
        Some(bookkeeper) if bookkeeper.is_full() => Err(ApiError::LedgerFull),
        _ => Ok(()),
    }
}
