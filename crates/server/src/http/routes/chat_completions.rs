//! `POST /v1/chat/completions`

mod routed;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use farthing_api::{ChatEnvelope, ChatRequest, InvalidRequest};

use crate::access::caller::Caller;
use crate::gateway::InForce;
use crate::http::admission::RequestIds;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::json_body::JsonBody;
use crate::http::sse;
use crate::request::answer::Answer;
use crate::request::chat_answer::ChatAnswer;
use crate::request::context::RequestContext;
use crate::request::record::{RequestRecord, RequestTerms};

/// A request, by who answers it.
enum Asked {
    /// This server's own models.
    Own(ChatRequest),
    /// The arms of a route.
    Route(ChatEnvelope),
}

/// When a client leaves, this future is dropped, or the stream that it returned, and the request is
/// cancelled.
pub(super) async fn create(
    State(app): State<App>,
    Extension(ids): Extension<RequestIds>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let in_force = app.gateway.in_force();
    let routes = in_force.clone();
    let (asked, held) = body.parse(move |body| read(body, &routes)).await?;
    let request = match asked {
        Asked::Own(request) => request,
        Asked::Route(envelope) => {
            let routed = routed::Routed {
                in_force,
                envelope,
                held,
                headers,
                ids,
                caller,
            };
            return routed.respond(&app).await;
        }
    };
    let stream = request.stream;
    let num_choices = request.sampling.n;
    let logprobs = request.logprobs.is_some();
    app.models.check_use(&caller, &request.model)?;
    let context = RequestContext {
        id: ids.id,
        client_id: ids.client_id,
        caller,
        user: request.user.clone(),
        routing: None,
        adapter: None,
    };
    let terms = RequestTerms {
        model: request.model.clone(),
        n: request.sampling.n,
        max_tokens: request.max_tokens,
    };
    let record = RequestRecord::open(context.clone(), terms, &app.books)?;
    let events = app.provider.chat(request, &context);
    let answer = ChatAnswer {
        answer: Answer::accepted(events, record, app.lifecycle.clone()).await?,
        num_choices,
        logprobs,
    };
    // Its texts are tokens now.
    drop(held);
    match stream {
        Some(options) => Ok(sse::respond(answer.chunks(options))),
        None => {
            let whole = answer.whole(&app.whole_answers.memory).await?;
            app.whole_answers.respond(whole).await
        }
    }
}

/// A server without routes reads a body once.
fn read(body: &[u8], in_force: &InForce) -> Result<Asked, InvalidRequest> {
    if !in_force.routes.is_empty() {
        let envelope = ChatEnvelope::from_json(body)?;
        if in_force.routes.contains_key(&envelope.model) {
            return Ok(Asked::Route(envelope));
        }
    }
    ChatRequest::from_json(body).map(Asked::Own)
}
