//! One request whose model is a route.

use std::sync::Arc;
use std::time::Duration;

use farthing_api::ChatLogprobs;
use farthing_gateway::{Arm, RequestFacts, Route, Target, Unit};
use farthing_ledger::{AssignedArm, Assignment, Role, Routing};
use farthing_vendors::{OriginalChat, RetryPolicy};
use jiff::Timestamp;

use super::attempt::Attempt;
use super::checked_answer::CheckedAnswer;
use super::experiments::Rollbacks;
use super::failure::fallback_reason;
use super::in_force::InForce;
use super::judgement::Judgement;
use super::own_server::OwnServer;
use super::pairs::{OpenPair, Pair, Pairs, Side, shadow_id};
use super::shadow::Shadows;
use super::situation::ServerSituation;
use super::whole_texts::WholeTexts;
use crate::adapters::AdapterInUse;
use crate::clock::unix_microseconds;
use crate::http::error::ApiError;
use crate::http::json_body::HeldBytes;
use crate::random;
use crate::request::answer::Answer;
use crate::request::context::RequestContext;

/// A request, and who sent it.
#[derive(Clone)]
pub(crate) struct ChatCall {
    pub original: OriginalChat,
    pub context: RequestContext,
    pub unit: Unit,
    /// The arm that the caller chose.
    pub arm: Option<String>,
    /// The unit of a replay, whose arm the caller chose.
    pub replay: Option<String>,
    /// The body counts as held as long as an attempt may need it.
    pub _held: Arc<HeldBytes>,
}

/// A request on its way through a route. Cheap to clone.
#[derive(Clone)]
pub(crate) struct RoutedChat {
    pub own: OwnServer,
    pub in_force: Arc<InForce>,
    pub shadows: Arc<Shadows>,
    pub pairs: Arc<Pairs>,
    pub rollbacks: Arc<Rollbacks>,
    pub route: Arc<Route>,
    pub call: ChatCall,
    pub facts: Arc<RequestFacts>,
}

/// An answer that has begun, and which arm gives it.
pub(crate) struct RoutedAnswer {
    pub answer: Answer<ChatLogprobs>,
    pub arm: String,
    /// The arm that the unit is assigned to.
    pub assigned: Option<AssignedArm>,
    /// All attempts, the successful one included.
    pub attempts: u32,
}

/// The arm that a request begins with.
struct Chosen<'a> {
    arm: &'a Arm,
    assigned: Option<AssignedArm>,
    /// The generation of the assigned arm's adapter, so that it is the one that answers.
    adapter: Option<AdapterInUse>,
}

/// Attempts of one request: more would only add to an outage.
const MAX_ATTEMPTS: u32 = 6;

impl RoutedChat {
    /// Waits until an arm begins to answer.
    ///
    /// # Errors
    /// No arm answers. The error is the last one.
    pub(crate) async fn answer(self) -> Result<RoutedAnswer, ApiError> {
        let route = self.route.clone();
        let chosen = self.choose(&route).await?;
        let pair = match self.call.arm {
            None => self.begin_shadow(chosen.assigned.as_ref()),
            Some(_) => None,
        };
        self.attempts(&route, chosen, pair).await
    }

    /// The arm that the caller chose, else that of a rule, else that of the unit.
    async fn choose<'a>(&self, route: &'a Route) -> Result<Chosen<'a>, ApiError> {
        let by_choice = self.call.arm.as_ref().map(|name| {
            route.arm(name).ok_or_else(|| ApiError::UnknownArm {
                arm: name.clone(),
                route: route.name.clone(),
            })
        });
        let by_choice = by_choice.transpose()?;
        if let (Some(arm), Some(unit)) = (by_choice, &self.call.replay) {
            return self.assigned(arm, format!("replay:{unit}")).await;
        }
        let situation = ServerSituation::new(&self.own, &self.in_force, &self.facts);
        if let Some(arm) = by_choice.or_else(|| route.by_rule(&self.facts, &situation)) {
            return Ok(Chosen {
                arm,
                assigned: None,
                adapter: None,
            });
        }
        let rolled_back = self.rollbacks.of(&route.experiment);
        let arm = route.assign(&self.call.unit, Timestamp::now(), rolled_back.as_deref());
        if !route.is_split() && route.shadow.is_none() {
            return Ok(Chosen {
                arm,
                assigned: None,
                adapter: None,
            });
        }
        self.assigned(arm, self.call.unit.to_string()).await
    }

    /// The arm, after its assignment is written.
    async fn assigned<'a>(&self, arm: &'a Arm, unit: String) -> Result<Chosen<'a>, ApiError> {
        let (arm_name, adapter) = self.pinned(arm).await?;
        let assigned = AssignedArm {
            experiment: self.route.experiment.clone(),
            arm: arm_name,
            unit,
        };
        self.write_assignment(&assigned).await?;
        Ok(Chosen {
            arm,
            assigned: Some(assigned),
            adapter,
        })
    }

    /// The name of an arm in the ledger. An adapter's weights are part of it: with new weights under the
    /// old name begins a new arm.
    async fn pinned(&self, arm: &Arm) -> Result<(String, Option<AdapterInUse>), ApiError> {
        let Target::Own { model } = &arm.target else {
            return Ok((arm.name.clone(), None));
        };
        // An adapter that cannot be loaded fails the attempt, not the assignment.
        let Ok(Some(adapter)) = self.own.models.find(model).await else {
            return Ok((arm.name.clone(), None));
        };
        let generation = adapter.generation();
        let short = generation.get(..8).unwrap_or(&generation);
        Ok((format!("{}@{short}", arm.name), Some(adapter)))
    }

    /// Writes the assignment before anything is done for it.
    async fn write_assignment(&self, assigned: &AssignedArm) -> Result<(), ApiError> {
        let Some(bookkeeper) = &self.own.books.bookkeeper else {
            return Ok(());
        };
        let assignment = Assignment {
            experiment: assigned.experiment.clone(),
            unit: assigned.unit.clone(),
            request_id: self.call.context.id.clone(),
            arm: assigned.arm.clone(),
            assigned_us: unix_microseconds(),
        };
        bookkeeper.assign(assignment).await
    }

    /// Sends the request to the route's shadow too, if its unit is shadowed and there is a place. The
    /// client's own answer neither waits for it nor fails with it. The result is the pair that both answers
    /// make, if there is a use for it.
    fn begin_shadow(&self, assigned: Option<&AssignedArm>) -> Option<Arc<OpenPair>> {
        let shadow = self.route.shadows(&self.call.unit)?;
        let arm = self.route.arm(&shadow.arm)?;
        let place = self
            .shadows
            .place(&self.route.name, shadow.max_concurrent)?;
        let is_paired = shadow.keep_pairs > 0 || self.route.judge.is_some();
        let request_id = self.call.context.id.clone();
        let pair = is_paired.then(|| Arc::new(OpenPair::new(request_id)));
        let with_client = pair.clone();
        let (mut chat, arm) = (self.clone(), arm.clone());
        let unit = assigned.map(|assigned| assigned.unit.clone());
        tokio::spawn(async move {
            let answered = match chat.shadow_attempt(&arm, unit, pair).await {
                Ok(answer) => answer.drain().await,
                Err(error) => Err(error),
            };
            drop(place);
            let route = &chat.route.name;
            chat.shadows.count(route, answered.is_ok());
            if let Err(error) = answered {
                let request_id = &chat.call.context.id;
                tracing::warn!(request_id, route, "the shadow failed: {error}");
            }
        });
        with_client
    }

    async fn attempts(
        &self,
        route: &Route,
        chosen: Chosen<'_>,
        pair: Option<Arc<OpenPair>>,
    ) -> Result<RoutedAnswer, ApiError> {
        let Chosen {
            mut arm,
            assigned,
            adapter,
        } = chosen;
        let mut failed: Vec<&str> = Vec::new();
        let first = match self.call.replay {
            Some(_) => Role::Replay,
            None => Role::Primary,
        };
        let (mut attempts, mut of_this_arm, mut role) = (0, 0, first);
        loop {
            attempts += 1;
            of_this_arm += 1;
            let routing = Routing {
                route: route.name.clone(),
                role,
                attempt: attempts,
                arm: arm.name.clone(),
                assigned: assigned.clone(),
            };
            let adapter = adapter.as_ref().filter(|_| failed.is_empty()).cloned();
            let error = match self.attempt(arm, routing, adapter, pair.clone()).await {
                Ok(answer) => {
                    return Ok(RoutedAnswer {
                        answer,
                        arm: arm.name.clone(),
                        assigned,
                        attempts,
                    });
                }
                Err(error) => error,
            };
            if attempts >= MAX_ATTEMPTS {
                return Err(error);
            }
            failed.push(arm.name.as_str());
            let reason = fallback_reason(&error).filter(|_| self.call.replay.is_none());
            let next = reason.and_then(|reason| route.after_failure(&failed, reason));
            let Some(next) = next else {
                // A vendor that asks for patience gets it if nobody else can answer.
                let Some(delay) = retry_delay(of_this_arm, &error) else {
                    return Err(error);
                };
                tokio::time::sleep(delay).await;
                failed.pop();
                role = Role::Retry;
                continue;
            };
            tracing::warn!(
                request_id = self.call.context.id,
                route = route.name,
                from = arm.name,
                to = next.name,
                error = tracing::field::display(&error),
                "another arm tries"
            );
            (arm, of_this_arm, role) = (next, 0, Role::Fallback);
        }
    }

    /// The attempt of the shadow: a request of its own, whose unit is assigned to the shadow's arm.
    async fn shadow_attempt(
        &mut self,
        arm: &Arm,
        unit: Option<String>,
        pair: Option<Arc<OpenPair>>,
    ) -> Result<Answer<ChatLogprobs>, ApiError> {
        let context = &mut self.call.context;
        context.id = shadow_id(&context.id);
        let (assigned, adapter) = match unit {
            Some(unit) => {
                let chosen = self.assigned(arm, unit).await?;
                (chosen.assigned, chosen.adapter)
            }
            None => (None, None),
        };
        let routing = Routing {
            route: self.route.name.clone(),
            role: Role::Shadow,
            attempt: 1,
            arm: arm.name.clone(),
            assigned,
        };
        self.attempt(arm, routing, adapter, pair).await
    }

    /// One attempt, whose whole answer is checked.
    async fn attempt(
        &self,
        arm: &Arm,
        routing: Routing,
        adapter: Option<AdapterInUse>,
        pair: Option<Arc<OpenPair>>,
    ) -> Result<Answer<ChatLogprobs>, ApiError> {
        let context = self.call.context.of_attempt(routing.clone(), adapter);
        let attempt = Attempt {
            own: &self.own,
            in_force: &self.in_force,
            arm,
            original: &self.call.original,
            context,
            own_first_content: self.route.own_first_content_seconds.and_then(seconds),
        };
        let answer = attempt.answer().await?;
        let is_used = !self.route.checks.is_empty() || pair.is_some();
        let Some(bookkeeper) = self.own.books.bookkeeper.clone().filter(|_| is_used) else {
            return Ok(answer);
        };
        let chat = self.clone();
        let whole = move |texts: Vec<String>| {
            if let (Some(pair), Some(text)) = (pair, texts.first()) {
                chat.add_to_pair(&pair, &routing, text.clone());
            }
            let answer = CheckedAnswer {
                checks: chat.route.checks.clone(),
                facts: chat.facts.clone(),
                request_id: chat.call.context.id.clone(),
                bookkeeper,
                texts,
            };
            answer.check();
        };
        Ok(answer.observed_by(WholeTexts::new(self.call.original.choices(), whole)))
    }

    /// Adds an answer to the pair of its request. A complete pair is judged, and kept for people.
    fn add_to_pair(&self, pair: &OpenPair, routing: &Routing, text: String) {
        let side = match routing.role {
            Role::Shadow => Side::Shadow,
            _ => Side::Client,
        };
        let Some(answers) = pair.add(side, text) else {
            return;
        };
        let request_id = pair.request_id().to_owned();
        let pair = Pair::new(
            request_id.clone(),
            self.facts.last_user_text.clone(),
            answers,
        );
        let keep = self
            .route
            .shadow
            .as_ref()
            .map_or(0, |shadow| shadow.keep_pairs);
        self.pairs.add(&self.route.experiment, pair.clone(), keep);
        if let Some(judge) = self.route.judge.clone() {
            let judgement = Judgement {
                own: self.own.clone(),
                in_force: self.in_force.clone(),
                judge,
                route: self.route.name.clone(),
                assigned: routing.assigned.clone(),
                context: RequestContext {
                    id: request_id,
                    ..self.call.context.clone()
                },
                pair,
            };
            tokio::spawn(judgement.run());
        }
    }
}

fn seconds(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok()
}

/// The delay before the same arm tries again; `None` if it should not.
fn retry_delay(attempts: u32, error: &ApiError) -> Option<Duration> {
    let ApiError::Vendor(failure) = error else {
        return None;
    };
    let jitter = random::bits() as f64 / u64::MAX as f64;
    RetryPolicy::default().delay(attempts, &failure.error, jitter)
}
