//! Reports of experiments, and arms that lose their units.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use farthing_gateway::{ExperimentSpec, Report, Route};
use farthing_ledger::{DecidedVerdict, LedgerError};
use jiff::Timestamp;

use super::in_force::InForce;
use crate::clock::unix_microseconds;
use crate::http::error::ApiError;
use crate::request::bookkeeper::Bookkeeper;

/// How often guardrails are looked at. Their intervals are always valid, so that looking often is safe.
const EVERY: Duration = Duration::from_secs(30);

/// The name of a rollback among an experiment's decisions.
const ROLLBACK: &str = "roll_back";

/// The arms that guardrails took out of the assignment, by experiment.
#[derive(Default)]
pub(crate) struct Rollbacks {
    arms: Mutex<BTreeMap<String, String>>,
}

impl Rollbacks {
    /// The arm of an experiment that gets no more units.
    pub(crate) fn of(&self, experiment: &str) -> Option<String> {
        self.locked().get(experiment).cloned()
    }

    fn add(&self, spec: &ExperimentSpec) {
        self.locked()
            .insert(spec.id.clone(), spec.candidate.clone());
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.arms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Computes the report of an experiment, and records a verdict that is reached for the first time.
///
/// # Errors
/// The ledger cannot be read.
pub(crate) async fn report(
    bookkeeper: &Bookkeeper,
    spec: &Arc<ExperimentSpec>,
    route: &Route,
) -> Result<Report, ApiError> {
    let failed = |error: &dyn std::fmt::Display| {
        tracing::error!(experiment = spec.id, "no report: {error}");
        ApiError::LedgerUnreadable
    };
    let started_us = spec.started_us().map_err(|error| failed(&error))?;
    let now = Timestamp::now();
    let split = route.split([&spec.baseline, &spec.candidate], started_us, now);
    let planned = spec.clone();
    let report = bookkeeper.read(move |ledger| {
        Ok::<_, LedgerError>(Report::compute(
            ledger,
            &planned,
            &split,
            now.as_microsecond(),
        ))
    });
    let report = report.await?.map_err(|error| failed(&error))?;
    if let Some(verdict) = report.to_decide() {
        bookkeeper.decide(verdict.clone()).await?;
    }
    Ok(report)
}

/// Watches the guardrails of all experiments for ever. An arm that is rolled back stays so, also after a
/// restart: another try is another experiment.
pub(super) async fn watch(
    bookkeeper: Bookkeeper,
    in_force: impl Fn() -> Arc<InForce>,
    rollbacks: Arc<Rollbacks>,
) {
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        ticks.tick().await;
        let in_force = in_force();
        for spec in in_force.experiments.values() {
            if !spec.is_watched() || rollbacks.of(&spec.id).is_some() {
                continue;
            }
            let Some(route) = in_force.routes.get(&spec.route) else {
                continue;
            };
            // An error is in the log, and the next look may succeed.
            if let Ok(true) = must_roll_back(&bookkeeper, spec, route).await {
                tracing::error!(
                    experiment = spec.id,
                    arm = spec.candidate,
                    "a guardrail is exceeded: the arm gets no more units"
                );
                rollbacks.add(spec);
            }
        }
    }
}

async fn must_roll_back(
    bookkeeper: &Bookkeeper,
    spec: &Arc<ExperimentSpec>,
    route: &Route,
) -> Result<bool, ApiError> {
    let id = spec.id.clone();
    let decided = bookkeeper.read(move |ledger| ledger.decided_verdict(&id, ROLLBACK));
    if decided.await?.is_some() {
        return Ok(true);
    }
    let report = report(bookkeeper, spec, route).await?;
    if !report.must_roll_back() {
        return Ok(false);
    }
    let decision = DecidedVerdict {
        experiment: spec.id.clone(),
        plan: ROLLBACK.to_owned(),
        decided_us: unix_microseconds(),
        verdict: "{}".to_owned(),
    };
    bookkeeper.decide(decision).await?;
    Ok(true)
}
