//! The engine of this process as a provider.

mod accounts;
mod chat_events;
mod completion_events;
mod events;
mod sampling;
mod token_text;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::bail;
use farthing_api::{
    ChatLogprobs, ChatRequest, CompletionLogprobs, CompletionRequest, Content, InvalidRequest,
    Message, Prompt, Sampling, TokenizeInput, UsedAdapter,
};
use farthing_engine::{
    ChatContent, ChatMessage, ChatTemplate, GenerationEvent, GenerationRequest, Receipt,
    SubmitError, TextError, Tokenizer,
};
use farthing_model::LoraAdapter;
use farthing_scheduler::{CacheSalt, SamplingParams};
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::backend::Backend;
use super::cache_salt::cache_salt;
use super::context::RequestContext;
use super::provider::{
    Provider, ProviderEvent, ProviderFuture, ProviderStream, RequestRead, TextToken,
};
use super::provider_error::ProviderError;
use crate::access::caller::Caller;
use crate::adapters::AdapterInUse;
use crate::lanes::Lanes;
use crate::served_models::ServedModels;
use accounts::accounts;
use chat_events::ChatEvents;
use completion_events::CompletionEvents;
use events::{RenderEvents, render};
pub use sampling::SamplingDefaults;

/// Messages of more bytes are refused by their length before their text is searched for control tokens,
/// which takes several times their memory.
const MAX_UNCHECKED_BYTES: usize = 64 << 10;

/// Tokenizes requests, submits them to the engine and renders what comes back.
#[derive(Clone)]
pub struct Local {
    /// The engine.
    pub backend: Arc<dyn Backend>,
    /// The model's tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    /// The model's chat template. Without one, chats are refused.
    pub chat_template: Option<Arc<ChatTemplate>>,
    /// The names of the base model and its adapters.
    pub models: Arc<ServedModels>,
    /// The number of token ids of the model.
    pub vocab_size: usize,
    /// What requests leave out.
    pub sampling: SamplingDefaults,
    /// Turns for tokenizing.
    pub lanes: Lanes,
}

/// What the engine is asked, over all prompts of a request.
struct Ask {
    caller: Caller,
    /// The parameter to name in an error about the prompt's length.
    prompt_param: &'static str,
    adapter: Option<AdapterInUse>,
    cache_salt: Option<CacheSalt>,
    prompts: Vec<Vec<u32>>,
    sampling: Sampling,
    max_tokens: Option<usize>,
    logprobs: Option<usize>,
    prompt_logprobs: Option<usize>,
    continues_text: bool,
}

/// The engine's events with the index of the prompt that they belong to.
type PromptEvents = Pin<Box<dyn Stream<Item = (usize, GenerationEvent)> + Send>>;

impl Provider for Local {
    fn chat(&self, request: ChatRequest, context: &RequestContext) -> ProviderStream<ChatLogprobs> {
        let local = self.clone();
        let RequestContext {
            caller, adapter, ..
        } = context.clone();
        started(async move {
            // An adapter that is not in memory is loaded while the text is tokenized.
            let (adapter, prompt) = tokio::try_join!(
                local.adapter_or(adapter, &request.model),
                local.render(request.messages, request.max_tokens, true)
            )?;
            let renderer = ChatEvents {
                tokenizer: local.tokenizer.clone(),
                logprobs: request.logprobs.is_some(),
            };
            let ask = Ask {
                prompt_param: "messages",
                adapter,
                cache_salt: cache_salt(caller.tenant(), request.cache_salt.as_deref()),
                caller,
                prompts: vec![prompt],
                sampling: request.sampling,
                max_tokens: request.max_tokens,
                logprobs: request.logprobs,
                prompt_logprobs: None,
                continues_text: false,
            };
            Ok(local.submit(ask, renderer))
        })
    }

    fn complete(
        &self,
        request: CompletionRequest,
        context: &RequestContext,
    ) -> ProviderStream<CompletionLogprobs> {
        let local = self.clone();
        let caller = context.caller.clone();
        started(async move {
            let n = request.sampling.n;
            local.check_choices(n * request.prompts.len())?;
            for prompt in &request.prompts {
                local.check_length(prompt, request.max_tokens)?;
            }
            let echoes = if request.echo {
                local.texts(&request.prompts)
            } else {
                Vec::new()
            };
            let (adapter, prompts) = tokio::try_join!(
                local.find_adapter(&request.model),
                local.encode(request.prompts)
            )?;
            let renderer = CompletionEvents::new(
                local.tokenizer.clone(),
                request.logprobs.is_some(),
                n,
                prompts.len() * n,
                echoes,
            );
            let ask = Ask {
                prompt_param: "prompt",
                adapter,
                cache_salt: cache_salt(caller.tenant(), request.cache_salt.as_deref()),
                caller,
                prompts,
                sampling: request.sampling,
                max_tokens: Some(request.max_tokens),
                logprobs: request.logprobs,
                prompt_logprobs: request.logprobs.filter(|_| request.echo),
                continues_text: true,
            };
            Ok(local.submit(ask, renderer))
        })
    }

    fn tokenize(&self, input: TokenizeInput) -> ProviderFuture<Vec<TextToken>> {
        let local = self.clone();
        Box::pin(async move {
            let tokens = match input {
                TokenizeInput::Prompt {
                    text,
                    add_special_tokens,
                } => {
                    let (tokenizer, bytes) = (local.tokenizer.clone(), text.len());
                    let encode = move || tokenizer.encode(&text, add_special_tokens);
                    local.in_turn(bytes, encode).await?
                }
                TokenizeInput::Messages {
                    messages,
                    add_generation_prompt,
                } => Ok(local.render(messages, None, add_generation_prompt).await?),
            };
            let tokens = tokens.map_err(|error| text_error("prompt", error))?;
            let tokenizer = &local.tokenizer;
            let text = |id: u32| String::from_utf8_lossy(tokenizer.token_bytes(id)).into_owned();
            Ok(tokens
                .into_iter()
                .map(|id| TextToken { id, text: text(id) })
                .collect())
        })
    }

    fn detokenize(&self, tokens: Vec<u32>) -> ProviderFuture<String> {
        let local = self.clone();
        Box::pin(async move {
            local.check_vocabulary("tokens", tokens.iter())?;
            let tokenizer = local.tokenizer.clone();
            local
                .in_turn(tokens.len(), move || tokenizer.decode(&tokens, false))
                .await
        })
    }

    fn is_alive(&self) -> bool {
        self.backend.is_alive()
    }
}

impl Local {
    /// Generates one token. After it the server is known to work, and the caches are warm for the first
    /// request.
    ///
    /// # Errors
    /// The engine refuses or fails the request.
    pub(crate) async fn warm_up(&self) -> anyhow::Result<()> {
        let request = GenerationRequest {
            prompt: vec![0],
            adapter: None,
            cache_salt: None,
            n: 1,
            sampling: SamplingParams {
                temperature: 0.0,
                ..SamplingParams::default()
            },
            max_tokens: Some(1),
            stop: Vec::new(),
            ignore_eos: true,
            prompt_logprobs: None,
            continues_text: true,
            budget: None,
            receipts: None,
        };
        let mut events = self.backend.submit(request)?;
        while let Some(event) = events.next().await {
            if let GenerationEvent::Failed { message } = event {
                bail!("the model could not generate a token: {message}");
            }
        }
        self.backend.end_warm_up();
        Ok(())
    }

    /// The assigned generation, or that which the name refers to.
    async fn adapter_or(
        &self,
        assigned: Option<AdapterInUse>,
        model: &str,
    ) -> Result<Option<AdapterInUse>, ProviderError> {
        match assigned {
            Some(adapter) => Ok(Some(adapter)),
            None => self.find_adapter(model).await,
        }
    }

    async fn find_adapter(&self, model: &str) -> Result<Option<AdapterInUse>, ProviderError> {
        Ok(self.models.find(model).await?)
    }

    /// The token ids of a conversation. Long ones take milliseconds, so they are not tokenized on the
    /// async threads.
    async fn render(
        &self,
        messages: Vec<Message>,
        max_tokens: Option<usize>,
        asks_for_answer: bool,
    ) -> Result<Vec<u32>, ProviderError> {
        let template = self.chat_template.clone().ok_or(TextError::NoChatTemplate);
        let template = template.map_err(|error| text_error("messages", error))?;
        let bytes = messages.iter().map(|message| message.content.bytes()).sum();
        let messages: Vec<_> = messages.into_iter().map(chat_message).collect();
        let local = self.clone();
        // A template may drop any part of the messages, so only what it made of them can be too long.
        let prompt = self.in_turn(bytes, move || {
            let failed = |error| text_error("messages", error);
            let max_tokens = max_tokens.unwrap_or(1);
            if bytes > MAX_UNCHECKED_BYTES {
                let text = template
                    .render_text(&messages, asks_for_answer)
                    .map_err(failed)?;
                local.check_text("messages", &text, max_tokens)?;
            }
            let prompt = template.render(&messages, asks_for_answer);
            drop(messages);
            let prompt = prompt.map_err(failed)?;
            local.check_text("messages", prompt.text(), max_tokens)?;
            let ids = local.tokenizer.encode_rendered(&prompt);
            ids.map_err(|error| text_error("messages", error))
        });
        prompt.await?
    }

    /// Refuses more choices than there are places before anything is computed for them.
    fn check_choices(&self, choices: usize) -> Result<(), ProviderError> {
        let limit = self.backend.max_choices();
        if choices > limit {
            return Err(ProviderError::TooManyChoices { choices, limit });
        }
        Ok(())
    }

    /// Refuses a prompt that cannot fit, before it is tokenized.
    fn check_length(&self, prompt: &Prompt, max_tokens: usize) -> Result<(), ProviderError> {
        match prompt {
            Prompt::Text(text) => self.check_text("prompt", text, max_tokens),
            Prompt::Tokens(ids) => {
                let context = self.models.max_model_len();
                // One token is sampled in any case.
                if ids.len() + max_tokens.max(1) <= context {
                    return Ok(());
                }
                let (prompt, answer) = (ids.len(), max_tokens.max(1));
                Err(
                    InvalidRequest::context_length_exceeded("prompt", context, prompt, answer)
                        .into(),
                )
            }
        }
    }

    /// Refuses a text that has too many tokens whatever they are.
    fn check_text(&self, param: &str, text: &str, max_tokens: usize) -> Result<(), ProviderError> {
        let context = self.models.max_model_len();
        let least = self.tokenizer.least_tokens(text) + max_tokens.max(1);
        if least <= context {
            return Ok(());
        }
        Err(InvalidRequest::text_too_long(param, context, text.len(), least).into())
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ProviderError> {
        let done = self.lanes.run(bytes, work).await;
        done.map_err(|error| ProviderError::Failed(format!("reading the text: {error}")))
    }

    /// The token ids of prompts.
    async fn encode(&self, prompts: Vec<Prompt>) -> Result<Vec<Vec<u32>>, ProviderError> {
        let tokenizer = self.tokenizer.clone();
        let bytes = |prompt: &Prompt| match prompt {
            Prompt::Text(text) => text.len(),
            Prompt::Tokens(_) => 0,
        };
        let bytes = prompts.iter().map(bytes).sum();
        let encode = move |prompt| match prompt {
            Prompt::Text(text) => tokenizer.encode(&text, true),
            Prompt::Tokens(ids) => Ok(ids),
        };
        let encoded = self.in_turn(bytes, move || prompts.into_iter().map(encode).collect());
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

    fn texts(&self, prompts: &[Prompt]) -> Vec<String> {
        let text = |prompt: &Prompt| match prompt {
            Prompt::Text(text) => text.clone(),
            Prompt::Tokens(ids) => self.tokenizer.decode(ids, false),
        };
        prompts.iter().map(text).collect()
    }

    /// Queues one generation per prompt. If one is refused, those before it are cancelled.
    fn submit<L: Send + 'static>(
        &self,
        mut ask: Ask,
        mut renderer: impl RenderEvents<L> + 'static,
    ) -> ProviderStream<L> {
        let n = ask.sampling.n;
        let (receipts, receivers) = ask.prompts.iter().map(|_| unbounded_channel()).unzip();
        let adapter = ask.adapter.take();
        let weights = adapter.as_ref().map(|adapter| adapter.adapter().clone());
        let read = RequestRead {
            adapter: adapter.as_ref().map(|adapter| UsedAdapter {
                name: adapter.name.clone(),
                generation: adapter.generation(),
            }),
            prompt_tokens: ask.prompts.iter().map(Vec::len).collect(),
            accounts: accounts(receivers, n, adapter),
        };
        let queued = self.queue(ask, weights, receipts);
        let read = stream::iter([Ok(ProviderEvent::Read(read))]);
        match queued {
            Err(error) => read.chain(stream::iter([Err(error)])).boxed(),
            Ok(prompts) => {
                let events = stream::select_all(prompts);
                let events = events.flat_map(move |(prompt, event)| {
                    stream::iter(render(&mut renderer, n, prompt, event))
                });
                read.chain(stream::iter([Ok(ProviderEvent::Accepted)]))
                    .chain(events)
                    .boxed()
            }
        }
    }

    fn queue(
        &self,
        ask: Ask,
        adapter: Option<Arc<LoraAdapter>>,
        receipts: Vec<UnboundedSender<Receipt>>,
    ) -> Result<Vec<PromptEvents>, ProviderError> {
        let biased = ask.sampling.logit_bias.iter().map(|(token, _)| token);
        self.check_vocabulary("logit_bias", biased)?;
        let tokens = ask.prompts.iter().map(Vec::len).sum();
        ask.caller.take_prompt(tokens)?;
        let n = ask.sampling.n;
        let num_choices = n * ask.prompts.len();
        let mut streams: Vec<PromptEvents> = Vec::with_capacity(ask.prompts.len());
        for (index, (prompt, receipts)) in ask.prompts.into_iter().zip(receipts).enumerate() {
            let request = GenerationRequest {
                prompt,
                adapter: adapter.clone(),
                cache_salt: ask.cache_salt,
                n,
                sampling: self.sampling.complete(&ask.sampling, ask.logprobs),
                max_tokens: ask.max_tokens,
                stop: ask.sampling.stop.clone(),
                ignore_eos: ask.sampling.ignore_eos,
                prompt_logprobs: ask.prompt_logprobs,
                continues_text: ask.continues_text,
                budget: ask.caller.budget().cloned(),
                receipts: Some(receipts),
            };
            let events = self.backend.submit(request);
            let events =
                events.map_err(|refusal| submit_error(refusal, ask.prompt_param, num_choices))?;
            streams.push(Box::pin(events.map(move |event| (index, event))));
        }
        Ok(streams)
    }

    fn check_vocabulary<'a>(
        &self,
        param: &str,
        mut ids: impl Iterator<Item = &'a u32>,
    ) -> Result<(), ProviderError> {
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

/// The stream that a request becomes once it is read.
fn started<L: Send + 'static>(
    reading: impl Future<Output = Result<ProviderStream<L>, ProviderError>> + Send + 'static,
) -> ProviderStream<L> {
    let stream = stream::once(async move {
        match reading.await {
            Ok(stream) => stream,
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    });
    stream.flatten().boxed()
}

/// A message as the template gets it.
pub(crate) fn chat_message(message: Message) -> ChatMessage {
    ChatMessage {
        role: message.role.as_str().to_owned(),
        content: match message.content {
            Content::Text(text) => ChatContent::Text(text),
            Content::Parts(parts) => ChatContent::Parts(parts),
        },
        name: message.name,
    }
}

fn text_error(param: &str, error: TextError) -> ProviderError {
    if error.is_callers_fault() {
        InvalidRequest::value(param, error.to_string()).into()
    } else {
        ProviderError::Failed(error.to_string())
    }
}

fn submit_error(refusal: SubmitError, prompt_param: &str, num_choices: usize) -> ProviderError {
    match refusal {
        SubmitError::QueueFull { limit } if num_choices > limit => ProviderError::TooManyChoices {
            choices: num_choices,
            limit,
        },
        SubmitError::QueueFull { limit } => ProviderError::QueueFull { limit },
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
        SubmitError::EngineDead => ProviderError::Unavailable,
    }
}
