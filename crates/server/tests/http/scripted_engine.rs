//! An engine whose every event is played by the test.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use farthing_engine::{
    EngineStats, Fit, GeneratedToken, GenerationEvent, GenerationRequest, GenerationUsage,
    PromptToken, StepModel, SubmitError,
};
use farthing_model::LoraAdapter;
use farthing_scheduler::{AdapterId, FinishReason, TokenLogprob, TokenLogprobs};
use farthing_server::{Backend, Events};
use tokio::sync::mpsc;

/// The most choices of a request.
pub(crate) const MAX_CHOICES: usize = 1000;

/// Hands each request to the test.
pub(crate) struct ScriptedEngine {
    requests: mpsc::UnboundedSender<Play>,
    /// What the next request is refused with.
    pub(crate) refusal: Mutex<Option<SubmitError>>,
    pub(crate) stats: Mutex<EngineStats>,
    /// The adapters that the device was to have, and those that it was to let go.
    pub(crate) prefetched: Mutex<Vec<AdapterId>>,
    pub(crate) retired: Mutex<Vec<AdapterId>>,
    pub(crate) is_dead: AtomicBool,
}

/// One request, and the stage to play its events on.
pub(crate) struct Play {
    pub(crate) request: GenerationRequest,
    events: mpsc::UnboundedSender<GenerationEvent>,
}

impl ScriptedEngine {
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Play>) {
        let (requests, plays) = mpsc::unbounded_channel();
        let engine = Self {
            requests,
            refusal: Mutex::default(),
            stats: Mutex::new(well_fitted()),
            prefetched: Mutex::default(),
            retired: Mutex::default(),
            is_dead: AtomicBool::new(false),
        };
        (engine, plays)
    }
}

impl Backend for ScriptedEngine {
    fn submit(&self, request: GenerationRequest) -> Result<Events, SubmitError> {
        if let Some(refusal) = self.refusal.lock().unwrap().take() {
            return Err(refusal);
        }
        let (events, mut receiver) = mpsc::unbounded_channel();
        self.requests.send(Play { request, events }).unwrap();
        Ok(Box::pin(futures_util::stream::poll_fn(move |context| {
            receiver.poll_recv(context)
        })))
    }

    fn max_choices(&self) -> usize {
        MAX_CHOICES
    }

    fn end_warm_up(&self) {}

    fn prefetch_adapter(&self, adapter: Arc<LoraAdapter>) {
        self.prefetched.lock().unwrap().push(adapter.id());
    }

    fn retire_adapter(&self, id: AdapterId) {
        self.retired.lock().unwrap().push(id);
    }

    fn stats(&self) -> EngineStats {
        self.stats.lock().unwrap().clone()
    }

    fn is_alive(&self) -> bool {
        !self.is_dead.load(Ordering::SeqCst)
    }
}

impl Play {
    /// One token a byte of `text`, without log-probabilities.
    pub(crate) fn say(&self, index: usize, text: &str) {
        let tokens = text.bytes().map(|byte| GeneratedToken {
            id: byte.into(),
            logprobs: None,
        });
        self.delta(index, text, tokens.collect());
    }

    /// One token, whatever the length of its text.
    pub(crate) fn say_at_once(&self, index: usize, text: &str) {
        let token = GeneratedToken {
            id: b'a'.into(),
            logprobs: None,
        };
        self.delta(index, text, vec![token]);
    }

    pub(crate) fn delta(&self, index: usize, text: &str, tokens: Vec<GeneratedToken>) {
        self.send(GenerationEvent::Delta {
            index,
            text: text.to_owned(),
            tokens,
        });
    }

    pub(crate) fn prompt(&self, tokens: Vec<PromptToken>) {
        self.send(GenerationEvent::Prompt(tokens));
    }

    pub(crate) fn finish(&self, index: usize, reason: FinishReason, usage: GenerationUsage) {
        self.send(GenerationEvent::Finished {
            index,
            reason,
            usage,
        });
    }

    /// Ends the request as an engine does when its budget is used up.
    pub(crate) fn end_over_budget(&self) {
        self.send(GenerationEvent::OverBudget);
    }

    pub(crate) fn fail(&self, message: &str) {
        self.send(GenerationEvent::Failed {
            message: message.to_owned(),
        });
    }

    pub(crate) fn cut_off(&self) {
        self.send(GenerationEvent::CutOff);
    }

    pub(crate) fn is_dropped(&self) -> bool {
        self.events.is_closed()
    }

    /// Returns once the server has dropped the request's stream.
    pub(crate) async fn dropped(&self) {
        self.events.closed().await;
    }

    fn send(&self, event: GenerationEvent) {
        // A server that has hung up is for `dropped` to tell.
        let _ = self.events.send(event);
    }
}

/// An engine that has done nothing yet, and knows how long steps take.
pub(crate) fn well_fitted() -> EngineStats {
    EngineStats {
        step_model: StepModel {
            fit: Fit {
                steps: 20,
                coefficients: 9,
                r_squared: 0.99,
                residual_p95: 0.05,
                ..Fit::default()
            },
            ..StepModel::default()
        },
        ..EngineStats::default()
    }
}

/// A token of one byte with its log-probability and those of alternatives.
pub(crate) fn token(byte: u8, logprob: f32, top: &[(u8, f32)]) -> GeneratedToken {
    GeneratedToken {
        id: byte.into(),
        logprobs: Some(logprobs(byte, logprob, top)),
    }
}

pub(crate) fn logprobs(byte: u8, logprob: f32, top: &[(u8, f32)]) -> TokenLogprobs {
    let told = |byte: u8, logprob| TokenLogprob {
        token: byte.into(),
        logprob,
    };
    TokenLogprobs {
        chosen: told(byte, logprob),
        top: top
            .iter()
            .map(|&(byte, logprob)| told(byte, logprob))
            .collect(),
    }
}

pub(crate) fn usage(
    prompt_tokens: usize,
    cached_tokens: usize,
    completion_tokens: usize,
) -> GenerationUsage {
    GenerationUsage {
        prompt_tokens,
        cached_tokens,
        completion_tokens,
        device_seconds: 0.36,
        ..GenerationUsage::default()
    }
}
