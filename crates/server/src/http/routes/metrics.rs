//! `GET /metrics`

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use crate::http::app::App;

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) async fn render(State(app): State<App>) -> impl IntoResponse {
    let adapters = app.local.models.adapter_figures();
    let bookkeeper = app.escort.bookkeeper.as_ref();
    let page = app.escort.metrics.render(&adapters, bookkeeper);
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], page)
}
