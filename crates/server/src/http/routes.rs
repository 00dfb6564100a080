//! The routes, one file each.

mod chat_completions;
mod completions;
mod costs_now;
mod experiments;
mod feedback;
mod health;
mod lora_adapters;
mod metrics;
mod models;
mod organization;
mod page;
mod pairs;
mod ready;
mod tokens;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

use super::admission::{admit_accountant, admit_caller, admit_operator, admit_reader};
use super::app::App;
use super::error::ApiError;
use crate::http::json_body::MAX_BODY_BYTES;

/// All routes, by who may use them. Errors have OpenAI's format.
pub(crate) fn router(app: App) -> Router {
    let callers = Router::new()
        .route("/v1/chat/completions", post(chat_completions::create))
        .route("/v1/completions", post(completions::create))
        .route("/tokenize", post(tokens::tokenize))
        .route("/detokenize", post(tokens::detokenize))
        .route("/v1/feedback", post(feedback::create))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(models::retrieve))
        .route_layer(from_fn_with_state(app.clone(), admit_caller));
    let readers = Router::new()
        .route("/v1/costs/now", get(costs_now::show))
        .route("/v1/lora_adapters", get(lora_adapters::list))
        .route("/v1/experiments", get(experiments::list))
        .route("/v1/experiments/{id}/report", get(experiments::report))
        .route("/v1/experiments/{id}/pairs", get(pairs::list))
        .route("/v1/experiments/{id}/votes", post(pairs::vote))
        .route("/metrics", get(metrics::render))
        .route_layer(from_fn_with_state(app.clone(), admit_reader));
    let accountants = Router::new()
        .route(
            "/v1/organization/usage/completions",
            get(organization::usage),
        )
        .route("/v1/organization/costs", get(organization::costs))
        .route_layer(from_fn_with_state(app.clone(), admit_accountant));
    let operators = Router::new()
        .route("/v1/load_lora_adapter", post(lora_adapters::load))
        .route("/v1/unload_lora_adapter", post(lora_adapters::unload))
        .route_layer(from_fn_with_state(app.clone(), admit_operator));
    // The page's files hold no figures, and probes have no keys.
    let everybody = page::routes().fold(Router::new(), |router, (path, file)| {
        router.route(path, file)
    });
    let everybody = everybody
        .route("/health", get(health::check))
        .route("/ready", get(ready::check));
    everybody
        .merge(callers)
        .merge(readers)
        .merge(accountants)
        .merge(operators)
        .fallback(unknown_url)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(app)
}

async fn unknown_url(request: Request) -> ApiError {
    ApiError::UnknownUrl {
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
    }
}

async fn method_not_allowed(request: Request) -> ApiError {
    let path = request.uri().path().to_owned();
    ApiError::MethodNotAllowed {
        method: request.method().clone(),
        path,
    }
}
