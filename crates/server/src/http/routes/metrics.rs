//! `GET /metrics`

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use crate::http::app::App;
use crate::metrics::MetricsSources;
use crate::request::bookkeeper::Bookkeeper;

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) async fn render(State(app): State<App>) -> impl IntoResponse {
    let engine = app.engine.as_ref().map(|engine| engine.stats());
    let ledger = app.books.bookkeeper.as_ref().map(Bookkeeper::status);
    let in_force = app.gateway.in_force();
    let vendors = in_force.vendors();
    let vendors: Vec<_> = vendors
        .map(|it| (it.name().to_owned(), it.figures()))
        .collect();
    let page = app.books.metrics.render(&MetricsSources {
        costs: &app.books.costs,
        engine: engine.as_ref(),
        adapters: &app.models.adapter_figures(),
        ledger: ledger.as_ref(),
        vendors: &vendors,
        shadows: &app.gateway.shadows().counts(),
    });
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], page)
}
