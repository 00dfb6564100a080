//! `GET /v1/experiments` and `GET /v1/experiments/{id}/report`

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::gateway;
use crate::http::app::App;
use crate::http::error::ApiError;

pub(super) async fn list(State(app): State<App>) -> Json<Value> {
    let in_force = app.gateway.in_force();
    let rollbacks = app.gateway.rollbacks();
    let experiments = in_force.experiments.values().map(|spec| {
        json!({
            "object": "experiment",
            "id": spec.id,
            "route": spec.route,
            "baseline": spec.baseline,
            "candidate": spec.candidate,
            "design": spec.design,
            "started": spec.started,
            "is_rolled_back": rollbacks.of(&spec.id).is_some(),
        })
    });
    Json(json!({"object": "list", "data": experiments.collect::<Vec<_>>()}))
}

/// A report has its styles in itself, and nothing else.
const REPORT_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; \
                             form-action 'none'; frame-ancestors 'none'";

/// The form of a report.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Json,
    Text,
    Html,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shown {
    #[serde(default)]
    format: Format,
}

pub(super) async fn report(
    State(app): State<App>,
    id: Result<Path<String>, PathRejection>,
    shown: Result<Query<Shown>, QueryRejection>,
) -> Result<Response, ApiError> {
    let (Path(id), Query(Shown { format })) = (id?, shown?);
    let bookkeeper = app.books.bookkeeper.as_ref().ok_or(ApiError::NoLedger)?;
    let in_force = app.gateway.in_force();
    let found = in_force.experiments.get(&id);
    let found = found.and_then(|spec| Some((spec, in_force.routes.get(&spec.route)?)));
    let (spec, route) = found.ok_or(ApiError::UnknownExperiment(id))?;
    let report = gateway::report(bookkeeper, spec, route).await?;
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    Ok(match format {
        Format::Json => (no_store, Json(report)).into_response(),
        Format::Text => (no_store, report.to_text()).into_response(),
        Format::Html => {
            let policy = [(header::CONTENT_SECURITY_POLICY, REPORT_POLICY)];
            (no_store, policy, Html(report.to_html())).into_response()
        }
    })
}
