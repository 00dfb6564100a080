//! From the engine's tokens to the events of completions, echoed prompts included.

use std::sync::Arc;

use farthing_api::{CompletionLogprobs, TopLogprobs};
use farthing_engine::{GeneratedToken, PromptToken, Tokenizer};
use farthing_scheduler::TokenLogprobs;

use super::events::{RenderEvents, finite};
use super::token_text;
use crate::request::provider::{CompletionEvent, Piece, ProviderEvent};

/// Renders echoed prompts and the log-probabilities of completions.
pub(super) struct CompletionEvents {
    tokenizer: Arc<Tokenizer>,
    /// Whether the request asked for log-probabilities.
    logprobs: bool,
    /// Choices per prompt.
    n: usize,
    /// One per prompt if the request asked for `echo`, else empty.
    echoes: Vec<Echo>,
    /// One per choice.
    progress: Vec<Progress>,
}

/// A prompt that is repeated before each of its choices.
struct Echo {
    text: String,
    /// The prompt's tokens, once the engine has sent their log-probabilities.
    tokens: Vec<PromptToken>,
}

/// How much of a choice was rendered.
#[derive(Clone, Default)]
struct Progress {
    is_echoed: bool,
    /// Where the text of the next token begins, in characters. It may be ahead of the text that was
    /// sent, of which some may be held back.
    offset: usize,
}

impl CompletionEvents {
    /// `echoes` holds the text of each prompt, or nothing if the request did not ask for `echo`.
    pub(super) fn new(
        tokenizer: Arc<Tokenizer>,
        logprobs: bool,
        n: usize,
        num_choices: usize,
        echoes: Vec<String>,
    ) -> Self {
        let echo = |text| Echo {
            text,
            tokens: Vec::new(),
        };
        Self {
            tokenizer,
            logprobs,
            n,
            echoes: echoes.into_iter().map(echo).collect(),
            progress: vec![Progress::default(); num_choices],
        }
    }
}

impl RenderEvents<CompletionLogprobs> for CompletionEvents {
    fn prompt(&mut self, prompt: usize, tokens: Vec<PromptToken>) {
        if let Some(echo) = self.echoes.get_mut(prompt) {
            echo.tokens = tokens;
        }
    }

    fn delta(
        &mut self,
        choice: usize,
        text: String,
        tokens: &[GeneratedToken],
    ) -> Vec<CompletionEvent> {
        let mut pieces: Vec<_> = self.echo(choice).into_iter().collect();
        let logprobs = self.logprobs.then(|| self.render(tokens, choice));
        let has_logprobs = logprobs
            .as_ref()
            .is_some_and(|logprobs| !logprobs.tokens.is_empty());
        if has_logprobs || !text.is_empty() {
            pieces.push(Piece { text, logprobs });
        }
        vec![ProviderEvent::Delta {
            choice,
            tokens: tokens.len(),
            pieces,
        }]
    }

    fn before_end(&mut self, choice: usize) -> Vec<CompletionEvent> {
        let event = |echo| ProviderEvent::Delta {
            choice,
            tokens: 0,
            pieces: vec![echo],
        };
        self.echo(choice).map(event).into_iter().collect()
    }
}

impl CompletionEvents {
    /// The prompt, if it is asked for and not yet sent.
    fn echo(&mut self, choice: usize) -> Option<Piece<CompletionLogprobs>> {
        if std::mem::replace(&mut self.progress[choice].is_echoed, true) {
            return None;
        }
        let echo = self.echoes.get(choice / self.n)?;
        let logprobs = self.logprobs.then(|| self.prompt_logprobs(echo));
        self.progress[choice].offset = echo.text.chars().count();
        Some(Piece {
            text: echo.text.clone(),
            logprobs,
        })
    }

    fn prompt_logprobs(&self, echo: &Echo) -> CompletionLogprobs {
        let mut logprobs = CompletionLogprobs::default();
        let mut rest = echo.text.as_bytes();
        for token in &echo.tokens {
            let bytes = self.tokenizer.token_bytes(token.id);
            let offset = count_characters(&echo.text.as_bytes()[..echo.text.len() - rest.len()]);
            self.push(&mut logprobs, token.id, token.logprobs.as_ref(), offset);
            // A token that the tokenizer inserted, such as BOS, is not in the text. Neither is the
            // space that SentencePiece puts before the text.
            let visible = bytes.strip_prefix(b" ").unwrap_or(bytes);
            rest = rest
                .strip_prefix(bytes)
                .or(rest.strip_prefix(visible))
                .unwrap_or(rest);
        }
        logprobs
    }

    fn render(&mut self, tokens: &[GeneratedToken], choice: usize) -> CompletionLogprobs {
        let mut logprobs = CompletionLogprobs::default();
        let mut offset = self.progress[choice].offset;
        for token in tokens {
            self.push(&mut logprobs, token.id, token.logprobs.as_ref(), offset);
            if !self.tokenizer.is_special(token.id) {
                offset += count_characters(self.tokenizer.token_bytes(token.id));
            }
        }
        self.progress[choice].offset = offset;
        logprobs
    }

    /// Appends one token.
    fn push(
        &self,
        to: &mut CompletionLogprobs,
        id: u32,
        logprobs: Option<&TokenLogprobs>,
        text_offset: usize,
    ) {
        let text = |id| token_text::in_completion(self.tokenizer.token_bytes(id));
        to.tokens.push(text(id));
        to.text_offset.push(text_offset);
        to.token_logprobs
            .push(logprobs.map(|it| finite(it.chosen.logprob)));
        to.top_logprobs.push(logprobs.map(|it| {
            let names = token_text::names(&it.top, it.chosen, text);
            let finite = |(name, logprob)| (name, finite(logprob));
            TopLogprobs::new(names.into_iter().map(finite).collect())
        }));
    }
}

/// The number of characters that begin in these bytes, which may start or end inside a character.
fn count_characters(bytes: &[u8]) -> usize {
    const CONTINUATION: std::ops::RangeInclusive<u8> = 0x80..=0xBF;
    bytes
        .iter()
        .filter(|byte| !CONTINUATION.contains(byte))
        .count()
}
