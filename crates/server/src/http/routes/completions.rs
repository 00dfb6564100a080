//! `POST /v1/completions`

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use farthing_api::CompletionRequest;

use crate::access::caller::Caller;
use crate::http::admission::RequestIds;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::json_body::JsonBody;
use crate::http::sse;
use crate::request::answer::Answer;
use crate::request::completion_answer::CompletionAnswer;
use crate::request::context::RequestContext;
use crate::request::record::{RequestRecord, RequestTerms};

/// When a client leaves, this future is dropped, or the stream that it returned, and the request is
/// cancelled.
pub(super) async fn create(
    State(app): State<App>,
    Extension(ids): Extension<RequestIds>,
    Extension(caller): Extension<Caller>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let (request, held) = body.parse(CompletionRequest::from_json).await?;
    let stream = request.stream;
    let num_choices = request.prompts.len() * request.sampling.n;
    let logprobs = request.logprobs.is_some();
    if app.gateway.in_force().routes.contains_key(&request.model) {
        return Err(ApiError::RouteNotAllowed(request.model));
    }
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
        max_tokens: Some(request.max_tokens),
    };
    let record = RequestRecord::open(context.clone(), terms, &app.books)?;
    let events = app.provider.complete(request, &context);
    let answer = CompletionAnswer {
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
