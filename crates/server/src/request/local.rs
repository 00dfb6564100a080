//! From a checked request to our own engine: the place of a provider among others.

use std::sync::Arc;

use farthing_api::{
    ChatRequest, CompletionRequest, Content, InvalidRequest, Message, Prompt, Sampling,
};
use farthing_economics::HourlyPrice;
use farthing_engine::{
    ChatContent, ChatMessage, ChatTemplate, GenerationRequest, SubmitError, TextError, Tokenizer,
};
use farthing_scheduler::SamplingParams;
use futures_util::StreamExt;

use crate::adapters::AdapterInUse;
use crate::http::error::ApiError;
use crate::lifecycle::Lifecycle;
use crate::metrics::Metrics;
use crate::random;
use crate::request::answer::{Answer, ChatAnswer, CompletionAnswer, Echo, PromptEvents};
use crate::request::backend::Backend;
use crate::request::bookkeeper::Bookkeeper;
use crate::request::record::RequestRecord;
use crate::served_models::ServedModels;

/// Everything between a checked request and the engine.
#[derive(Clone)]
pub struct Local {
    /// What generates.
    pub backend: Arc<dyn Backend>,
    /// The model's.
    pub tokenizer: Arc<Tokenizer>,
    /// None where the model has none: then there are no chats.
    pub chat_template: Option<Arc<ChatTemplate>>,
    /// Names of the base model and its adapters.
    pub models: Arc<ServedModels>,
    /// Token ids that the model knows.
    pub vocab_size: usize,
    /// What the machine costs, where it is known.
    pub price: Option<HourlyPrice>,
    /// Tokens a second, prompt, cached and generated ones together, that the machine carries
    /// within its service level, where that is known.
    pub slo_tokens_per_second: Option<f64>,
}

/// What the engine is asked, over all prompts of a request.
struct Ask<'a> {
    /// The parameter that an error of the prompt's length names.
    prompt_param: &'static str,
    adapter: Option<AdapterInUse>,
    prompts: Vec<Vec<u32>>,
    sampling: &'a Sampling,
    max_tokens: Option<usize>,
    logprobs: Option<usize>,
    prompt_logprobs: Option<usize>,
    continues_text: bool,
}

/// What a request is accompanied by: its counters, its place in the ledger, and the word that it
/// must end.
#[derive(Clone)]
pub(crate) struct Escort {
    pub metrics: Arc<Metrics>,
    pub lifecycle: Lifecycle,
    /// Where there is a ledger.
    pub bookkeeper: Option<Bookkeeper>,
}

impl Local {
    pub(crate) async fn chat(
        &self,
        request: &ChatRequest,
        escort: &Escort,
    ) -> Result<ChatAnswer, ApiError> {
        let record =
            RequestRecord::open("chatcmpl", &request.model, request.user.as_deref(), escort)?;
        // A cold adapter is read while the text is.
        let read = tokio::try_join!(
            self.models.find(&request.model),
            self.render(&request.messages)
        );
        let (record, (adapter, prompt)) = record.through(read)?;
        let ask = Ask {
            prompt_param: "messages",
            adapter,
            prompts: vec![prompt],
            sampling: &request.sampling,
            max_tokens: request.max_tokens,
            logprobs: request.logprobs,
            prompt_logprobs: None,
            continues_text: false,
        };
        let answer = self.submit(ask, record, escort)?;
        Ok(ChatAnswer::new(
            answer,
            self.tokenizer.clone(),
            request.logprobs.is_some(),
        ))
    }

    pub(crate) async fn complete(
        &self,
        request: &CompletionRequest,
        escort: &Escort,
    ) -> Result<CompletionAnswer, ApiError> {
        let record = RequestRecord::open("cmpl", &request.model, request.user.as_deref(), escort)?;
        let read = tokio::try_join!(
            self.models.find(&request.model),
            self.encode(&request.prompts)
        );
        let (record, (adapter, prompts)) = record.through(read)?;
        let num_choices = prompts.len() * request.sampling.n;
        let echoes = match request.echo {
            true => self.echoes(&request.prompts),
            false => Vec::new(),
        };
        let ask = Ask {
            prompt_param: "prompt",
            adapter,
            prompts,
            sampling: &request.sampling,
            max_tokens: Some(request.max_tokens),
            logprobs: request.logprobs,
            prompt_logprobs: request.logprobs.filter(|_| request.echo),
            continues_text: true,
        };
        let answer = self.submit(ask, record, escort)?;
        let logprobs = request.logprobs.is_some();
        Ok(CompletionAnswer::new(
            answer,
            self.tokenizer.clone(),
            logprobs,
            echoes,
            num_choices,
        ))
    }

    /// The token ids of a conversation. Long ones take milliseconds: not on the async threads.
    async fn render(&self, messages: &[Message]) -> Result<Vec<u32>, ApiError> {
        let template = self.chat_template.clone().ok_or(TextError::NoChatTemplate);
        let template = template.map_err(|error| text_error("messages", error))?;
        let tokenizer = self.tokenizer.clone();
        let messages: Vec<_> = messages.iter().map(chat_message).collect();
        let prompt = off_thread(move || {
            let prompt = template.render(&messages, true)?;
            tokenizer.encode_rendered(&prompt)
        });
        prompt.await?.map_err(|error| text_error("messages", error))
    }

    /// The token ids of prompts.
    async fn encode(&self, prompts: &[Prompt]) -> Result<Vec<Vec<u32>>, ApiError> {
        let tokenizer = self.tokenizer.clone();
        let prompts = prompts.to_vec();
        let encode = move |prompt| match prompt {
            Prompt::Text(text) => tokenizer.encode(&text, true),
            Prompt::Tokens(ids) => Ok(ids),
        };
        let encoded = off_thread(move || prompts.into_iter().map(encode).collect());
        let encoded: Result<Vec<Vec<u32>>, TextError> = encoded.await?;
        let encoded = encoded.map_err(|error| text_error("prompt", error))?;
        if encoded.iter().any(Vec::is_empty) {
            let message = "Invalid 'prompt': it has no tokens. Expected at least one.";
            return Err(InvalidRequest::value("prompt", message).into());
        }
        let ids = encoded.iter().flatten();
        self.check_vocabulary("prompt", ids)?;
        Ok(encoded)
    }

    fn echoes(&self, prompts: &[Prompt]) -> Vec<Echo> {
        let text = |prompt: &Prompt| match prompt {
            Prompt::Text(text) => text.clone(),
            Prompt::Tokens(ids) => self.tokenizer.decode(ids, false),
        };
        prompts
            .iter()
            .map(|prompt| Echo::new(text(prompt)))
            .collect()
    }

    /// Queues one generation a prompt. Where one is refused, those before it are aborted.
    fn submit(
        &self,
        mut ask: Ask<'_>,
        mut record: RequestRecord,
        escort: &Escort,
    ) -> Result<Answer, ApiError> {
        let n = ask.sampling.n;
        let prompt_tokens = ask.prompts.iter().map(Vec::len).collect();
        record.begin(prompt_tokens, n, ask.adapter.take());
        let queued = self.queue(ask, &mut record, escort);
        let (record, streams) = record.through(queued)?;
        let lifecycle = escort.lifecycle.clone();
        Ok(Answer::new(n, streams, record, lifecycle))
    }

    fn queue(
        &self,
        ask: Ask<'_>,
        record: &mut RequestRecord,
        escort: &Escort,
    ) -> Result<Vec<PromptEvents>, ApiError> {
        let biased = ask.sampling.logit_bias.iter().map(|(token, _)| token);
        self.check_vocabulary("logit_bias", biased)?;
        let n = ask.sampling.n;
        let num_choices = n * ask.prompts.len();
        let mut streams: Vec<PromptEvents> = Vec::with_capacity(ask.prompts.len());
        for (index, prompt) in ask.prompts.into_iter().enumerate() {
            let request = GenerationRequest {
                prompt,
                adapter: record.lora(),
                n,
                sampling: sampling_params(ask.sampling, ask.logprobs),
                max_tokens: ask.max_tokens,
                stop: ask.sampling.stop.clone(),
                ignore_eos: ask.sampling.ignore_eos,
                prompt_logprobs: ask.prompt_logprobs,
                continues_text: ask.continues_text,
                receipts: record.receipts(),
            };
            let events = self.backend.submit(request).map_err(|refusal| {
                if matches!(refusal, SubmitError::QueueFull { .. }) {
                    escort.metrics.rejected();
                }
                submit_error(refusal, ask.prompt_param, num_choices)
            })?;
            streams.push(Box::pin(events.map(move |event| (index, event))));
        }
        escort.metrics.taken(n, ask.max_tokens);
        Ok(streams)
    }

    fn check_vocabulary<'a>(
        &self,
        param: &str,
        mut ids: impl Iterator<Item = &'a u32>,
    ) -> Result<(), ApiError> {
        match ids.find(|&&id| id as usize >= self.vocab_size) {
            None => Ok(()),
            Some(id) => {
                let message = format!(
                    "Invalid token id in '{param}': {id}. The vocabulary has the ids 0 to {}.",
                    self.vocab_size - 1
                );
                Err(InvalidRequest::value(param, message).into())
            }
        }
    }
}

fn chat_message(message: &Message) -> ChatMessage {
    ChatMessage {
        role: message.role.as_str().to_owned(),
        content: match &message.content {
            Content::Text(text) => ChatContent::Text(text.clone()),
            Content::Parts(parts) => ChatContent::Parts(parts.clone()),
        },
        name: message.name.clone(),
    }
}

fn sampling_params(sampling: &Sampling, logprobs: Option<usize>) -> SamplingParams {
    SamplingParams {
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        top_k: sampling.top_k,
        min_p: sampling.min_p,
        presence_penalty: sampling.presence_penalty,
        frequency_penalty: sampling.frequency_penalty,
        repetition_penalty: sampling.repetition_penalty,
        logit_bias: sampling.logit_bias.clone(),
        // Negative seeds are seeds too: only the bits matter.
        seed: sampling.seed.map_or_else(random::bits, |seed| seed as u64),
        logprobs,
    }
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| ApiError::Failed(format!("reading the text: {error}")))
}

fn text_error(param: &str, error: TextError) -> ApiError {
    match error.is_callers_fault() {
        true => InvalidRequest::value(param, error.to_string()).into(),
        false => ApiError::Failed(error.to_string()),
    }
}

fn submit_error(refusal: SubmitError, prompt_param: &str, num_choices: usize) -> ApiError {
    match refusal {
        SubmitError::QueueFull { limit } if num_choices > limit => {
            let message = format!(
                "This request asks for {num_choices} choices (prompts times 'n'), but this server \
                 holds at most {limit} at once."
            );
            InvalidRequest::value("n", message).into()
        }
        SubmitError::QueueFull { limit } => ApiError::QueueFull { limit },
        SubmitError::TooLong {
            max_model_len,
            prompt_tokens,
            max_tokens,
        } => InvalidRequest::context_length_exceeded(
            prompt_param,
            max_model_len,
            prompt_tokens,
            max_tokens,
        )
        .into(),
        SubmitError::EngineDead => ApiError::EngineDead,
    }
}
