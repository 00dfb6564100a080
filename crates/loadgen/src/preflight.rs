//! Checks before any load: whether there is a server, which one, and how it counts tokens.

use std::sync::Arc;
use std::time::Instant;

use hyper::{Method, StatusCode};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::Deserialize;

use crate::answer_reader::excerpt;
use crate::chunk::{Chunk, UsageChunk};
use crate::client::{HttpClient, RequestError};
use crate::exchange::exchange;
use crate::live::Live;
use crate::meter::MeterReading;
use crate::prompt::{PromptFit, random_words};
use crate::record::Failure;
use crate::target::Target;

/// What is known about a server before the load.
#[derive(Clone, Debug)]
pub(crate) struct Preflight {
    pub models: Vec<Arc<str>>,
    pub fit: PromptFit,
    /// Whether `fit` comes from the server's own counts.
    pub is_fit_measured: bool,
    /// Whether streams end with token counts.
    pub tells_usage: bool,
    /// A reading of Farthing's meter, if the server is Farthing.
    pub meter: Option<MeterReading>,
}

/// Why a server cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// There is no connection.
    #[error("cannot reach {url}: {problem}")]
    Unreachable {
        /// The address.
        url: String,
        /// The reason.
        problem: String,
    },
    /// The server does not list its models, and none was given.
    #[error("{url} does not list its models ({problem}): name a model")]
    NoModels {
        /// The address.
        url: String,
        /// The reason.
        problem: String,
    },
    /// The server rejects an ordinary request.
    #[error("{url} rejects a request for {model:?}: {problem}")]
    Refused {
        /// The address.
        url: String,
        /// The requested model.
        model: String,
        /// The server's message.
        problem: String,
    },
}

/// Lengths of the two prompts whose tokens are counted.
const SHORT_WORDS: usize = 16;
const LONG_WORDS: usize = 80;

/// Runs the checks; `models` are those given by the user.
pub(crate) async fn preflight(
    client: &HttpClient,
    target: &Target,
    models: &[Arc<str>],
) -> Result<Preflight, PreflightError> {
    let models = match models {
        [] => vec![first_model(client, target).await?],
        models => models.to_vec(),
    };
    let short = count_prompt(client, target, &models[0], SHORT_WORDS).await?;
    let long = count_prompt(client, target, &models[0], LONG_WORDS).await?;
    let measured = short
        .zip(long)
        .and_then(|(short, long)| PromptFit::through((SHORT_WORDS, short), (LONG_WORDS, long)));
    let mut tells_usage = true;
    for model in &models {
        let answer = stream_once(client, target, model).await;
        let answer = answer.map_err(|failure| PreflightError::Refused {
            url: target.endpoint(),
            model: model.to_string(),
            problem: format!("{}: {}", failure.kind, failure.message),
        })?;
        tells_usage &= answer.usage.is_some();
    }
    Ok(Preflight {
        models,
        fit: measured.unwrap_or_default(),
        is_fit_measured: measured.is_some(),
        tells_usage,
        meter: MeterReading::take(client, target).await,
    })
}

/// The first model listed by the server.
async fn first_model(client: &HttpClient, target: &Target) -> Result<Arc<str>, PreflightError> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Models {
        OpenAi {
            data: Vec<Model>,
        },
        /// Together's form.
        List(Vec<Model>),
    }
    #[derive(Deserialize)]
    struct Model {
        id: String,
    }
    let url = target.url("/v1/models");
    let (status, body) = client
        .whole(Method::GET, &url, None)
        .await
        .map_err(|error| unreachable_at(&url, error))?;
    let no_models = |problem: String| PreflightError::NoModels {
        url: url.clone(),
        problem,
    };
    if status != StatusCode::OK {
        let body = excerpt(&String::from_utf8_lossy(&body));
        return Err(no_models(format!("status {}: {body}", status.as_u16())));
    }
    let models: Models =
        serde_json::from_slice(&body).map_err(|error| no_models(error.to_string()))?;
    let (Models::OpenAi { data } | Models::List(data)) = models;
    let first = data.into_iter().next();
    Ok(first
        .ok_or_else(|| no_models("it has none".to_owned()))?
        .id
        .into())
}

/// The server's token count for a prompt of `words` words, if it reports one.
async fn count_prompt(
    client: &HttpClient,
    target: &Target,
    model: &str,
    words: usize,
) -> Result<Option<u64>, PreflightError> {
    let mut random = StdRng::seed_from_u64(words as u64);
    let body = target.body(model, &random_words(&mut random, words), 1, false);
    let url = target.endpoint();
    let (status, body) = client
        .whole(Method::POST, &url, Some(body))
        .await
        .map_err(|error| unreachable_at(&url, error))?;
    let refused = |problem| PreflightError::Refused {
        url: url.clone(),
        model: model.to_owned(),
        problem,
    };
    if !status.is_success() {
        let body = excerpt(&String::from_utf8_lossy(&body));
        return Err(refused(format!("status {}: {body}", status.as_u16())));
    }
    let chunk = Chunk::parse(&body).map_err(|error| refused(error.to_string()))?;
    let tokens = chunk.usage().map(UsageChunk::prompt_tokens).transpose();
    Ok(tokens
        .map_err(|error| refused(error.to_string()))?
        .flatten())
}

/// Requests a short streamed answer.
async fn stream_once(
    client: &HttpClient,
    target: &Target,
    model: &str,
) -> Result<crate::record::Answer, Failure> {
    let mut random = StdRng::seed_from_u64(0);
    let body = target.body(model, &random_words(&mut random, SHORT_WORDS), 8, true);
    let began = Instant::now();
    exchange(client, &target.endpoint(), body, began, &Live::new(began)).await
}

fn unreachable_at(url: &str, error: RequestError) -> PreflightError {
    PreflightError::Unreachable {
        url: url.to_owned(),
        problem: error.to_string(),
    }
}
