//! The handle with which callers reach the engine thread.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use std::time::Instant;

use farthing_model::LoraAdapter;
use farthing_scheduler::{AdapterId, SequenceId, SequenceRequest};
use tokio::sync::{
    mpsc::{self, UnboundedReceiver, UnboundedSender},
    watch,
};

use crate::{
    EngineStats, GenerationRequest, GenerationStream, Tokenizer,
    backlog::Backlog,
    command::{Command, NewSequence},
    mailbox::{self, Mailbox},
    queue_places::QueuePlaces,
};

/// Limits that a request is checked against before it is queued.
#[derive(Clone, Debug)]
pub struct EngineLimits {
    /// Maximum number of tokens of a sequence, prompt and answer together.
    pub max_model_len: usize,
    /// Maximum number of sequences that wait or run. More are rejected.
    pub max_queued_sequences: usize,
    /// Whether adapters are served. Then no single adapter, nor the base model, may take all
    /// places.
    pub serves_adapters: bool,
    /// Maximum bytes of generated tokens that wait for callers to read them, over all requests. Above
    /// it the request with the most is cancelled; one request may have a sixteenth.
    pub max_unread_bytes: usize,
    /// The model's end-of-sequence tokens.
    pub eos_token_ids: Arc<[u32]>,
}

/// Why a request was rejected.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The queue is full.
    #[error("the engine already has {limit} sequences waiting or running: try again later")]
    QueueFull {
        /// Maximum number of sequences that wait or run.
        limit: usize,
    },
    /// Prompt and answer exceed the context.
    #[error(
        "this model's maximum context length is {max_model_len} tokens, but {prompt_tokens} were \
         requested in the prompt and {max_tokens} in the answer: shorten the prompt or lower \
         max_tokens"
    )]
    TooLong {
        /// Maximum number of tokens of a sequence.
        max_model_len: usize,
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Requested tokens, at least one.
        max_tokens: usize,
    },
    /// The engine thread has ended.
    #[error("the engine is not running")]
    EngineDead,
}

/// Sends requests to the engine thread. Cheap to clone; never blocks the async runtime.
#[derive(Clone)]
pub struct EngineHandle {
    commands: UnboundedSender<Command>,
    /// One place per sequence, held until the engine has ended it. This bounds the channel.
    places: Arc<QueuePlaces>,
    next_sequence: Arc<AtomicU64>,
    limits: EngineLimits,
    tokenizer: Arc<Tokenizer>,
    stats: watch::Receiver<EngineStats>,
    backlog: Arc<Backlog<Mailbox>>,
}

/// The engine thread's end of the channels.
pub(crate) struct EngineDoor {
    pub commands: UnboundedReceiver<Command>,
    pub stats: watch::Sender<EngineStats>,
    pub backlog: Arc<Backlog<Mailbox>>,
}

impl EngineHandle {
    pub(crate) fn new(limits: EngineLimits, tokenizer: Arc<Tokenizer>) -> (Self, EngineDoor) {
        let (commands, command_receiver) = mpsc::unbounded_channel();
        let (stats_sender, stats) = watch::channel(EngineStats::default());
        let places = QueuePlaces::new(limits.max_queued_sequences, limits.serves_adapters);
        let next_sequence = Arc::default();
        let backlog = Arc::new(Backlog::new(limits.max_unread_bytes));
        let handle = Self {
            commands,
            places: Arc::new(places),
            next_sequence,
            limits,
            tokenizer,
            stats,
            backlog: backlog.clone(),
        };
        (
            handle,
            EngineDoor {
                commands: command_receiver,
                stats: stats_sender,
                backlog,
            },
        )
    }

    /// Queues a request.
    ///
    /// # Errors
    /// The request can never fit, the queue is full, or the engine has ended. Nothing is queued
    /// then.
    pub fn submit(&self, request: GenerationRequest) -> Result<GenerationStream, SubmitError> {
        let max_model_len = self.limits.max_model_len;
        let prompt_tokens = request.prompt.len();
        let room = max_model_len.saturating_sub(prompt_tokens);
        // A request without generated tokens still runs through one step, which samples a token.
        let max_tokens = request.max_tokens.unwrap_or(room).max(1);
        if max_tokens > room {
            return Err(SubmitError::TooLong {
                max_model_len,
                prompt_tokens,
                max_tokens,
            });
        }
        let limit = self.limits.max_queued_sequences;
        let kind = request.adapter.as_ref().map(|adapter| adapter.id());
        let places = self.places.take(kind, request.n);
        let places = places.ok_or(SubmitError::QueueFull { limit })?;

        let first = self
            .next_sequence
            .fetch_add(request.n as u64, Ordering::Relaxed);
        let sequences = first..first + request.n as u64;
        let (events, event_receiver) = mailbox::open(sequences, &self.backlog);
        let mut ids = Vec::with_capacity(request.n);
        for (index, place) in places.into_iter().enumerate() {
            let id = SequenceId(first + index as u64);
            ids.push(id);
            let sequence = self.sequence(&request, id, index, max_tokens);
            let new = NewSequence {
                sequence,
                adapter: request.adapter.clone(),
                index,
                events: events.clone(),
                receipts: request.receipts.clone(),
                budget: request.budget.clone(),
                place,
            };
            self.commands
                .send(Command::Start(new))
                .map_err(|_| SubmitError::EngineDead)?;
        }
        Ok(GenerationStream::new(
            request,
            self.tokenizer.clone(),
            ids,
            event_receiver,
            self.commands.clone(),
        ))
    }

    fn sequence(
        &self,
        request: &GenerationRequest,
        id: SequenceId,
        index: usize,
        max_tokens: usize,
    ) -> SequenceRequest {
        let mut params = request.sampling.clone();
        params.seed = params.seed.wrapping_add(index as u64);
        SequenceRequest {
            id,
            prompt: request.prompt.clone(),
            adapter: request.adapter.as_ref().map(|adapter| adapter.id()),
            cache_salt: request.cache_salt,
            params: Arc::new(params),
            max_tokens,
            siblings: request.n,
            stop_token_ids: if request.ignore_eos {
                Arc::default()
            } else {
                self.limits.eos_token_ids.clone()
            },
            // All choices have the same prompt, so one of them returns its log-probabilities.
            prompt_logprobs: request.prompt_logprobs.filter(|_| index == 0),
        }
    }

    /// Copies an adapter to the device ahead of its first request, if a slot is free.
    pub fn prefetch_adapter(&self, adapter: Arc<LoraAdapter>) {
        // If the engine has ended, there is no device any more.
        let _ = self.commands.send(Command::Prefetch(adapter));
    }

    /// Frees the slot of an adapter that no request will name again, once no sequence uses it.
    pub fn retire_adapter(&self, id: AdapterId) {
        let _ = self.commands.send(Command::Retire(id));
    }

    /// The statistics that the engine published last, with the idle time since.
    pub fn stats(&self) -> EngineStats {
        EngineStats {
            unread_bytes: self.backlog.bytes(),
            ..self.stats.borrow().as_of(Instant::now())
        }
    }

    /// Ends the warm-up: resets all counters and counts all time until now as warm-up.
    pub fn end_warm_up(&self) {
        // If the engine has ended, it no longer counts.
        let _ = self.commands.send(Command::EndWarmUp);
    }

    /// Maximum number of sequences of one request: as many as find places while nothing else waits or
    /// runs.
    pub fn max_choices(&self) -> usize {
        self.places.most_of_one_kind()
    }

    /// Whether the engine thread is alive.
    pub fn is_alive(&self) -> bool {
        !self.commands.is_closed()
    }

    /// Waits until the engine thread has ended.
    pub async fn closed(&self) {
        self.commands.closed().await;
    }
}
