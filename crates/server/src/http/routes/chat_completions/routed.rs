//! A chat whose model is a route.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use farthing_api::{ChatEnvelope, InvalidRequest};
use farthing_gateway::{RequestFacts, Route, Unit, UnitSources};
use farthing_vendors::OriginalChat;

use crate::access::caller::Caller;
use crate::gateway::{ChatCall, InForce, RoutedChat};
use crate::http::admission::RequestIds;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::json_body::HeldBytes;
use crate::http::sse;
use crate::request::chat_answer::ChatAnswer;
use crate::request::context::RequestContext;

const X_SESSION_ID: HeaderName = HeaderName::from_static("x-session-id");
const X_ROUTE: HeaderName = HeaderName::from_static("x-farthing-route");
const X_ARM: HeaderName = HeaderName::from_static("x-farthing-arm");
/// The unit of a replay. Its cost is the experiment's.
const X_REPLAY: HeaderName = HeaderName::from_static("x-farthing-replay");
const X_ATTEMPTS: HeaderName = HeaderName::from_static("x-farthing-attempts");
const X_ASSIGNED_ARM: HeaderName = HeaderName::from_static("x-farthing-assigned-arm");
/// OpenAI's clients would repeat what the gateway has repeated already.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// OpenAI's limit of ids.
const MAX_SESSION_BYTES: usize = 512;

/// A request whose model is a route of `in_force`.
pub(super) struct Routed {
    pub in_force: Arc<InForce>,
    pub envelope: ChatEnvelope,
    pub held: HeldBytes,
    pub headers: HeaderMap,
    pub ids: RequestIds,
    pub caller: Caller,
}

impl Routed {
    pub(super) async fn respond(self, app: &App) -> Result<Response, ApiError> {
        let Some(route) = self.in_force.routes.get(&self.envelope.model).cloned() else {
            return Err(ApiError::ModelNotFound(self.envelope.model));
        };
        if !self.caller.may_use(&route.name, true) {
            return Err(ApiError::ModelNotAllowed(route.name.clone()));
        }
        let arm = self.chosen_arm(&route)?;
        let unit = Unit::of(
            route.unit,
            UnitSources {
                user: self
                    .envelope
                    .safety_identifier
                    .as_deref()
                    .or(self.envelope.user.as_deref()),
                session: header(&self.headers, &X_SESSION_ID)
                    .filter(|it| it.len() <= MAX_SESSION_BYTES),
                key: self.caller.key_name(),
                request: &self.ids.id,
            },
        );
        let original = OriginalChat::new(self.envelope.body).map_err(|error| {
            InvalidRequest::value(
                error.parameter,
                format!("Invalid '{}': it {}.", error.parameter, error.problem),
            )
        })?;
        let facts = Arc::new(RequestFacts::of(original.body()));
        self.caller
            .take_prompt(facts.estimated_prompt_tokens() as usize)?;
        let context = RequestContext {
            id: self.ids.id,
            client_id: self.ids.client_id,
            caller: self.caller,
            user: self.envelope.user,
            routing: None,
            adapter: None,
        };
        let chat = RoutedChat {
            own: app.own_server(),
            in_force: self.in_force,
            shadows: app.gateway.shadows().clone(),
            pairs: app.gateway.pairs().clone(),
            rollbacks: app.gateway.rollbacks().clone(),
            route: route.clone(),
            call: ChatCall {
                original,
                context,
                unit,
                replay: arm
                    .is_some()
                    .then(|| header(&self.headers, &X_REPLAY).map(str::to_owned))
                    .flatten(),
                arm,
                _held: Arc::new(self.held),
            },
            facts,
        };
        let routed = match chat.answer().await {
            Ok(routed) => routed,
            Err(error) => {
                let mut response = error.into_response();
                let headers = response.headers_mut();
                headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
                insert(headers, X_ROUTE, &route.name);
                return Ok(response);
            }
        };
        let (arm, attempts) = (routed.arm, routed.attempts);
        let answer = ChatAnswer {
            answer: routed.answer,
            num_choices: self.envelope.n,
            logprobs: self.envelope.logprobs,
        };
        let mut response = match self.envelope.stream {
            Some(options) => sse::respond(answer.chunks(options)),
            None => {
                let whole = answer.whole(&app.whole_answers.memory).await?;
                app.whole_answers.respond(whole).await?
            }
        };
        let headers = response.headers_mut();
        insert(headers, X_ROUTE, &route.name);
        insert(headers, X_ARM, &arm);
        headers.insert(X_ATTEMPTS, attempts.into());
        if let Some(assigned) = &routed.assigned {
            insert(headers, X_ASSIGNED_ARM, &assigned.arm);
        }
        Ok(response)
    }

    /// The arm that the caller names in a header.
    fn chosen_arm(&self, route: &Route) -> Result<Option<String>, ApiError> {
        match header(&self.headers, &X_ARM) {
            None => Ok(None),
            Some(_) if !route.clients_may_choose => {
                Err(ApiError::ArmNotAllowed(route.name.clone()))
            }
            Some(arm) => Ok(Some(arm.to_owned())),
        }
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers
        .get(name)?
        .to_str()
        .ok()
        .filter(|text| !text.is_empty())
}

/// A routes file has only names that fit a header.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
