//! `GET /v1/organization/usage/completions` and `GET /v1/organization/costs`

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use farthing_api::{CompletionsUsage, Costs, OrganizationQuery, OrganizationReport, UsagePage};
use farthing_ledger::{LedgerError, LedgerReader};

use crate::clock::unix_seconds;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::organization;

/// How long a shutdown waits for reports.
const LAST_REPORTS: Duration = Duration::from_secs(2);

type Pairs = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// If the server has an admin key, both routes require it.
pub(super) async fn usage(
    State(app): State<App>,
    headers: HeaderMap,
    pairs: Pairs,
) -> Result<Json<UsagePage<CompletionsUsage>>, ApiError> {
    admit(&app, &headers)?;
    let query = read(OrganizationReport::Usage, pairs)?;
    ask(&app, move |ledger, now| {
        organization::usage(ledger, &query, now)
    })
    .await
}

pub(super) async fn costs(
    State(app): State<App>,
    headers: HeaderMap,
    pairs: Pairs,
) -> Result<Json<UsagePage<Costs>>, ApiError> {
    admit(&app, &headers)?;
    let query = read(OrganizationReport::Costs, pairs)?;
    ask(&app, move |ledger, now| {
        organization::costs(ledger, &query, now)
    })
    .await
}

fn admit(app: &App, headers: &HeaderMap) -> Result<(), ApiError> {
    if app.access.may_see_tenants(headers) {
        Ok(())
    } else {
        Err(ApiError::BadAdminKey)
    }
}

fn read(report: OrganizationReport, pairs: Pairs) -> Result<OrganizationQuery, ApiError> {
    let Query(pairs) = pairs?;
    Ok(OrganizationQuery::from_pairs(report, pairs)?)
}

/// A report that is not done soon after the server was asked to stop is not waited for.
async fn ask<T: Send + 'static>(
    app: &App,
    question: impl FnOnce(&mut LedgerReader, i64) -> Result<T, LedgerError> + Send + 'static,
) -> Result<Json<T>, ApiError> {
    let bookkeeper = app.books.bookkeeper.as_ref().ok_or(ApiError::NoLedger)?;
    let now = unix_seconds() as i64;
    let stopped = async {
        app.lifecycle.draining().await;
        tokio::time::sleep(LAST_REPORTS).await;
    };
    tokio::select! {
        answer = bookkeeper.read(move |ledger| question(ledger, now)) => Ok(Json(answer?)),
        () = stopped => Err(ApiError::ShuttingDown),
    }
}
