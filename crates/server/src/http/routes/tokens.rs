//! `POST /tokenize` and `POST /detokenize`, in vLLM's form.

use axum::extract::State;
use axum::{Extension, Json};
use farthing_api::{DetokenizeRequest, Detokenized, TokenizeRequest, Tokenized};

use crate::access::caller::Caller;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::json_body::JsonBody;
use crate::request::ProviderError;

pub(super) async fn tokenize(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    body: JsonBody,
) -> Result<Json<Tokenized>, ApiError> {
    let (request, _held) = body.parse(TokenizeRequest::from_json).await?;
    check_model(&app, &caller, request.model.as_deref()).await?;
    let strings = request.return_token_strs;
    let tokens = app.provider.tokenize(request.input).await?;
    let token_strs = strings.then(|| tokens.iter().map(|token| token.text.clone()).collect());
    Ok(Json(Tokenized {
        count: tokens.len(),
        max_model_len: app.models.max_model_len(),
        token_strs,
        tokens: tokens.into_iter().map(|token| token.id).collect(),
    }))
}

pub(super) async fn detokenize(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    body: JsonBody,
) -> Result<Json<Detokenized>, ApiError> {
    let (request, _held) = body.parse(DetokenizeRequest::from_json).await?;
    check_model(&app, &caller, request.model.as_deref()).await?;
    let prompt = app.provider.detokenize(request.tokens).await?;
    Ok(Json(Detokenized { prompt }))
}

/// Adapters have the base model's tokenizer.
async fn check_model(app: &App, caller: &Caller, model: Option<&str>) -> Result<(), ApiError> {
    let Some(model) = model else {
        return Ok(());
    };
    app.models.check_use(caller, model)?;
    let found = app.models.find(model).await.map_err(ProviderError::from);
    Ok(found.map(drop)?)
}
