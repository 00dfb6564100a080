//! `GET /v1/organization/usage/completions` and `GET /v1/organization/costs`

use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use farthing_api::{CompletionsUsage, Costs, OrganizationQuery, OrganizationReport, UsagePage};
use farthing_ledger::{LedgerError, LedgerReader};

use crate::clock::unix_seconds;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::operator_json::OperatorJson;
use crate::organization;

/// How long a shutdown waits for reports.
const LAST_REPORTS: Duration = Duration::from_secs(2);

type Pairs = Result<Query<Vec<(String, String)>>, QueryRejection>;

pub(super) async fn usage(
    State(app): State<App>,
    pairs: Pairs,
) -> Result<OperatorJson<UsagePage<CompletionsUsage>>, ApiError> {
    let query = read(OrganizationReport::Usage, pairs)?;
    ask(&app, move |ledger, now| {
        organization::usage(ledger, &query, now)
    })
    .await
}

pub(super) async fn costs(
    State(app): State<App>,
    pairs: Pairs,
) -> Result<OperatorJson<UsagePage<Costs>>, ApiError> {
    let query = read(OrganizationReport::Costs, pairs)?;
    ask(&app, move |ledger, now| {
        organization::costs(ledger, &query, now)
    })
    .await
}

fn read(report: OrganizationReport, pairs: Pairs) -> Result<OrganizationQuery, ApiError> {
    let Query(pairs) = pairs?;
    Ok(OrganizationQuery::from_pairs(report, pairs)?)
}

/// A report that is not done soon after the server was asked to stop is not waited for.
async fn ask<T: Send + 'static>(
    app: &App,
    question: impl FnOnce(&mut LedgerReader, i64) -> Result<T, LedgerError> + Send + 'static,
) -> Result<OperatorJson<T>, ApiError> {
    let bookkeeper = app.books.bookkeeper.as_ref().ok_or(ApiError::NoLedger)?;
    let now = unix_seconds() as i64;
    let stopped = async {
        app.lifecycle.draining().await;
        tokio::time::sleep(LAST_REPORTS).await;
    };
    tokio::select! {
        answer = bookkeeper.read(move |ledger| question(ledger, now)) => Ok(OperatorJson(answer?)),
        () = stopped => Err(ApiError::ShuttingDown),
    }
}
