//! From tokens and text to completions and their chunks, which have one shape.

use std::sync::Arc;

use farthing_api::{
    Completion, CompletionChoice, CompletionLogprobs, FinishReason, StreamOptions, StreamedUsage,
    TopLogprobs,
};
use farthing_engine::{GeneratedToken, PromptToken, Tokenizer};
use farthing_scheduler::TokenLogprobs;
use futures_util::{Stream, StreamExt, stream};

use super::{Answer, AnswerEvent, FINGERPRINT};
use crate::http::error::ApiError;

/// An answer to a completion request.
pub(crate) struct CompletionAnswer {
    answer: Answer,
    tokenizer: Arc<Tokenizer>,
    /// Whether the caller asked for log-probabilities.
    logprobs: bool,
    /// One a prompt where the caller asked to have it back, else empty.
    echoes: Vec<Echo>,
    /// One a choice.
    progress: Vec<Progress>,
}

/// A prompt that stands before its answers.
pub(crate) struct Echo {
    text: String,
    /// The prompt's tokens, once the engine has told their log-probabilities.
    tokens: Vec<PromptToken>,
}

/// How far a choice is told.
#[derive(Clone, Default)]
struct Progress {
    echoed: bool,
    /// Where the next token's text begins, in characters; it may be ahead of the text that is out,
    /// some of which is held back.
    offset: usize,
}

impl Echo {
    pub(crate) fn new(text: String) -> Self {
        Self {
            text,
            tokens: Vec::new(),
        }
    }
}

impl CompletionAnswer {
    /// `echoes` has one entry a prompt, or none at all.
    pub(crate) fn new(
        answer: Answer,
        tokenizer: Arc<Tokenizer>,
        logprobs: bool,
        echoes: Vec<Echo>,
        num_choices: usize,
    ) -> Self {
        let progress = vec![Progress::default(); num_choices];
        Self {
            answer,
            tokenizer,
            logprobs,
            echoes,
            progress,
        }
    }

    /// The answer at once.
    pub(crate) async fn whole(mut self) -> Result<Completion, ApiError> {
        let new_choice = |index| CompletionChoice {
            index,
            text: String::new(),
            logprobs: self.logprobs.then(CompletionLogprobs::default),
            finish_reason: None,
        };
        let mut choices: Vec<_> = (0..self.progress.len()).map(new_choice).collect();
        while let Some(event) = self.answer.next().await {
            for piece in self.pieces(event?) {
                let choice = &mut choices[piece.index];
                choice.text.push_str(&piece.text);
                choice.finish_reason = piece.finish_reason.or(choice.finish_reason);
                if let (Some(whole), Some(logprobs)) = (&mut choice.logprobs, piece.logprobs) {
                    whole.append(logprobs);
                }
            }
        }
        let usage = StreamedUsage::Told(self.answer.usage());
        Ok(self.completion(choices, usage))
    }

    /// The answer as it comes.
    pub(crate) fn chunks(
        self,
        options: StreamOptions,
    ) -> impl Stream<Item = Result<Completion, ApiError>> + Send {
        let state = CompletionChunks {
            answer: self,
            options,
            ended: false,
        };
        let steps = stream::unfold(state, |mut state| async {
            Some((stream::iter(state.step().await?), state))
        });
        steps.flatten()
    }

    /// What an event adds to the text of its choice, the echoed prompt first.
    fn pieces(&mut self, event: AnswerEvent) -> Vec<CompletionChoice> {
        match event {
            AnswerEvent::Prompt { prompt, tokens } => {
                if let Some(echo) = self.echoes.get_mut(prompt) {
                    echo.tokens = tokens;
                }
                Vec::new()
            }
            AnswerEvent::Delta {
                choice,
                text,
                tokens,
            } => {
                let mut pieces = self.echo(choice);
                let logprobs = self.logprobs.then(|| self.logprobs_of(&tokens, choice));
                let tells = logprobs
                    .as_ref()
                    .is_some_and(|logprobs| !logprobs.tokens.is_empty());
                // Half a character or a possible stop string is held back: nothing to say then.
                if tells || !text.is_empty() {
                    pieces.push(piece(choice, text, logprobs, None));
                }
                pieces
            }
            AnswerEvent::Finished { choice, reason } => {
                let mut pieces = self.echo(choice);
                pieces.push(piece(choice, String::new(), None, Some(reason)));
                pieces
            }
        }
    }

    /// The prompt, where it is wanted and not yet told.
    fn echo(&mut self, choice: usize) -> Vec<CompletionChoice> {
        if std::mem::replace(&mut self.progress[choice].echoed, true) {
            return Vec::new();
        }
        let Some(echo) = self.echoes.get(choice / self.answer.n) else {
            return Vec::new();
        };
        let logprobs = self.logprobs.then(|| self.prompt_logprobs(echo));
        self.progress[choice].offset = echo.text.chars().count();
        vec![piece(choice, echo.text.clone(), logprobs, None)]
    }

    fn prompt_logprobs(&self, echo: &Echo) -> CompletionLogprobs {
        let mut told = CompletionLogprobs::default();
        let mut rest = echo.text.as_bytes();
        for token in &echo.tokens {
            let bytes = self.tokenizer.token_bytes(token.id);
            let offset = characters(&echo.text.as_bytes()[..echo.text.len() - rest.len()]);
            self.tell(&mut told, token.id, token.logprobs.as_ref(), offset);
            // A token that the tokenizer put in by itself, such as BOS, has no place in the text;
            // nor has the space that SentencePiece puts before it.
            let visible = bytes.strip_prefix(b" ").unwrap_or(bytes);
            rest = rest
                .strip_prefix(bytes)
                .or(rest.strip_prefix(visible))
                .unwrap_or(rest);
        }
        told
    }

    fn logprobs_of(&mut self, tokens: &[GeneratedToken], choice: usize) -> CompletionLogprobs {
        let mut told = CompletionLogprobs::default();
        let mut offset = self.progress[choice].offset;
        for token in tokens {
            self.tell(&mut told, token.id, token.logprobs.as_ref(), offset);
            if !self.tokenizer.is_special(token.id) {
                offset += characters(self.tokenizer.token_bytes(token.id));
            }
        }
        self.progress[choice].offset = offset;
        told
    }

    fn tell(
        &self,
        told: &mut CompletionLogprobs,
        id: u32,
        logprobs: Option<&TokenLogprobs>,
        text_offset: usize,
    ) {
        let text = |id| String::from_utf8_lossy(self.tokenizer.token_bytes(id)).into_owned();
        told.tokens.push(text(id));
        told.text_offset.push(text_offset);
        told.token_logprobs
            .push(logprobs.map(|told| super::finite(told.chosen.logprob)));
        told.top_logprobs.push(logprobs.map(|told| {
            let mut top = TopLogprobs::default();
            for token in told.top.iter().chain([&told.chosen]) {
                top.add(text(token.token), super::finite(token.logprob));
            }
            top
        }));
    }

    fn completion(&self, choices: Vec<CompletionChoice>, usage: StreamedUsage) -> Completion {
        Completion {
            id: self.answer.id.clone(),
            created: self.answer.created,
            model: self.answer.model.clone(),
            adapter: self.answer.adapter.clone(),
            system_fingerprint: FINGERPRINT.to_owned(),
            choices,
            usage,
        }
    }
}

/// A streamed answer between two chunks.
struct CompletionChunks {
    answer: CompletionAnswer,
    options: StreamOptions,
    ended: bool,
}

impl CompletionChunks {
    /// The chunks of the next event.
    async fn step(&mut self) -> Option<Vec<Result<Completion, ApiError>>> {
        if self.ended {
            return None;
        }
        match self.answer.answer.next().await {
            None => {
                self.ended = true;
                let usage = StreamedUsage::Told(self.answer.answer.usage());
                let last = self
                    .options
                    .include_usage
                    .then(|| self.answer.completion(Vec::new(), usage));
                Some(last.into_iter().map(Ok).collect())
            }
            Some(Err(error)) => {
                self.ended = true;
                Some(vec![Err(error)])
            }
            Some(Ok(event)) => {
                let pieces = self.answer.pieces(event);
                let usage = self.answer.answer.usage_so_far(self.options);
                let chunk = |piece| Ok(self.answer.completion(vec![piece], usage.clone()));
                Some(pieces.into_iter().map(chunk).collect())
            }
        }
    }
}

fn piece(
    index: usize,
    text: String,
    logprobs: Option<CompletionLogprobs>,
    finish_reason: Option<FinishReason>,
) -> CompletionChoice {
    CompletionChoice {
        index,
        text,
        logprobs,
        finish_reason,
    }
}

/// How many characters begin in these bytes, which may start or end amid one.
fn characters(bytes: &[u8]) -> usize {
    const CONTINUATION: std::ops::RangeInclusive<u8> = 0x80..=0xBF;
    bytes
        .iter()
        .filter(|byte| !CONTINUATION.contains(byte))
        .count()
}
