//! A judge's comparison of a pair, in both orders.

use std::sync::{Arc, Mutex, PoisonError};

use farthing_experiment::{PairOutcome, Preference};
use farthing_gateway::{Arm, Judge, Target};
use farthing_ledger::{AssignedArm, Role, Routing};
use farthing_vendors::OriginalChat;

use super::attempt::Attempt;
use super::in_force::InForce;
use super::own_server::OwnServer;
use super::pairs::Pair;
use super::whole_texts::WholeTexts;
use crate::http::error::ApiError;
use crate::request::context::RequestContext;

/// The metric of a judge: 1 if the answer is preferred in both orders, 0 if the other one is, and a half
/// otherwise.
const METRIC: &str = "preferred";

/// What a judge needs to compare a pair.
pub(super) struct Judgement {
    pub own: OwnServer,
    pub in_force: Arc<InForce>,
    pub judge: Judge,
    pub route: String,
    pub assigned: Option<AssignedArm>,
    pub context: RequestContext,
    pub pair: Pair,
}

impl Judgement {
    /// Asks twice and records the outcome. A failure is in the log, and the pair has no outcome.
    pub(super) async fn run(self) {
        let [client, shadow] = &self.pair.answers;
        let asked = async {
            let client_first = self.ask(1, client, shadow).await?;
            let shadow_first = self.ask(2, shadow, client).await?;
            Ok::<_, ApiError>((client_first, shadow_first))
        };
        let (client_first, shadow_first) = match asked.await {
            Ok((Some(client_first), Some(shadow_first))) => (client_first, shadow_first),
            Ok(_) => {
                let (request_id, route) = (&self.pair.request_id, &self.route);
                tracing::warn!(
                    request_id,
                    route,
                    "the judge's reply is not one of the letters"
                );
                return;
            }
            Err(error) => {
                let (request_id, route) = (&self.pair.request_id, &self.route);
                tracing::warn!(request_id, route, "the judge failed: {error}");
                return;
            }
        };
        let outcome = PairOutcome::of(client_first, shadow_first);
        let (is_shadow_better, name) = match outcome {
            PairOutcome::Candidate => (Some(true), "candidate"),
            PairOutcome::Baseline => (Some(false), "baseline"),
            PairOutcome::Tie => (None, "tie"),
            PairOutcome::Inconsistent => (None, "inconsistent"),
        };
        let Some(bookkeeper) = &self.own.books.bookkeeper else {
            return;
        };
        let source = format!("judge:{}/{}", self.judge.vendor, self.judge.model);
        for feedback in self
            .pair
            .feedback(METRIC, &source, is_shadow_better, Some(name))
        {
            // A failure is in the log.
            let _ = bookkeeper.feedback(feedback).await;
        }
    }

    /// The judge's preference of one order; `None` if the reply is none.
    async fn ask(
        &self,
        attempt: u32,
        first: &str,
        second: &str,
    ) -> Result<Option<Preference>, ApiError> {
        let body = self.judge.request(&self.pair.question, first, second);
        let original =
            OriginalChat::new(body).map_err(|error| ApiError::Failed(error.to_string()))?;
        let arm = Arm {
            name: "judge".to_owned(),
            target: Target::Vendor {
                vendor: self.judge.vendor.clone(),
                model: self.judge.model.clone(),
            },
            weight: 0.0,
        };
        let routing = Routing {
            route: self.route.clone(),
            role: Role::Judge,
            attempt,
            arm: arm.name.clone(),
            assigned: self.assigned.clone(),
        };
        let attempt = Attempt {
            own: &self.own,
            in_force: &self.in_force,
            arm: &arm,
            original: &original,
            context: self.context.of_attempt(routing, None),
            own_first_content: None,
        };
        let reply = Arc::new(Mutex::new(None));
        let slot = reply.clone();
        let keep = move |texts: Vec<String>| {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = texts.into_iter().next();
        };
        let answer = attempt.answer().await?;
        answer.observed_by(WholeTexts::new(1, keep)).drain().await?;
        let reply = reply.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(reply.and_then(|reply| Judge::read(&reply)))
    }
}
