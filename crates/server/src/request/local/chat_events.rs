//! From the engine's tokens to the events of a chat.

use std::sync::Arc;

use farthing_api::{ChatLogprob, ChatLogprobs, ChatTopLogprob};
use farthing_engine::{GeneratedToken, PromptToken, Tokenizer};
use farthing_scheduler::{TokenLogprob, TokenLogprobs};

use super::events::{RenderEvents, finite};
use super::token_text;
use crate::request::provider::{ChatEvent, Piece, ProviderEvent};

/// Renders the log-probabilities of chats.
pub(super) struct ChatEvents {
    pub tokenizer: Arc<Tokenizer>,
    /// Whether the request asked for log-probabilities.
    pub logprobs: bool,
}

impl RenderEvents<ChatLogprobs> for ChatEvents {
    fn prompt(&mut self, _prompt: usize, _tokens: Vec<PromptToken>) {}

    fn delta(&mut self, choice: usize, text: String, tokens: &[GeneratedToken]) -> Vec<ChatEvent> {
        let content = self.render(tokens);
        let is_silent = text.is_empty() && content.is_empty();
        let piece = || Piece {
            text,
            logprobs: self.logprobs.then_some(ChatLogprobs {
                content,
                refusal: None,
            }),
        };
        vec![ProviderEvent::Delta {
            choice,
            tokens: tokens.len(),
            pieces: (!is_silent).then(piece).into_iter().collect(),
        }]
    }

    fn before_end(&mut self, _choice: usize) -> Vec<ChatEvent> {
        Vec::new()
    }
}

impl ChatEvents {
    fn render(&self, tokens: &[GeneratedToken]) -> Vec<ChatLogprob> {
        let entry = |logprobs: &TokenLogprobs| ChatLogprob {
            chosen: self.render_token(&logprobs.chosen),
            top_logprobs: logprobs
                .top
                .iter()
                .map(|top| self.render_token(top))
                .collect(),
        };
        let logprobs = tokens.iter().filter_map(|token| token.logprobs.as_ref());
        logprobs.map(entry).collect()
    }

    fn render_token(&self, token: &TokenLogprob) -> ChatTopLogprob {
        let bytes = self.tokenizer.token_bytes(token.token);
        ChatTopLogprob {
            token: token_text::in_chat(bytes),
            logprob: finite(token.logprob),
            bytes: Some(bytes.to_vec()),
        }
    }
}
