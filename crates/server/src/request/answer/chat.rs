//! From tokens and text to chat completions and their chunks.

use std::sync::Arc;

use farthing_api::{
    AssistantMessage, ChatChoice, ChatChunk, ChatChunkChoice, ChatCompletion, ChatDelta,
    ChatLogprob, ChatLogprobs, ChatTopLogprob, FinishReason, StreamOptions, StreamedUsage,
};
use farthing_engine::{GeneratedToken, Tokenizer};
use farthing_scheduler::TokenLogprob;
use futures_util::{Stream, StreamExt, stream};

use super::{Answer, AnswerEvent, FINGERPRINT};
use crate::http::error::ApiError;

/// An answer to a chat request.
pub(crate) struct ChatAnswer {
    answer: Answer,
    tokenizer: Arc<Tokenizer>,
    /// Whether the caller asked for log-probabilities.
    logprobs: bool,
}

impl ChatAnswer {
    pub(crate) fn new(answer: Answer, tokenizer: Arc<Tokenizer>, logprobs: bool) -> Self {
        Self {
            answer,
            tokenizer,
            logprobs,
        }
    }

    /// The answer at once.
    pub(crate) async fn whole(mut self) -> Result<ChatCompletion, ApiError> {
        let mut texts = vec![String::new(); self.answer.n];
        let mut logprobs = vec![self.logprobs.then(ChatLogprobs::default); self.answer.n];
        let mut reasons = vec![FinishReason::Stop; self.answer.n];
        while let Some(event) = self.answer.next().await {
            match event? {
                AnswerEvent::Prompt { .. } => {}
                AnswerEvent::Delta {
                    choice,
                    text,
                    tokens,
                } => {
                    texts[choice].push_str(&text);
                    if let Some(logprobs) = &mut logprobs[choice] {
                        logprobs.content.extend(self.logprobs_of(&tokens));
                    }
                }
                AnswerEvent::Finished { choice, reason } => reasons[choice] = reason,
            }
        }
        let choices = texts.into_iter().zip(logprobs).zip(reasons).enumerate();
        let choice = |(index, ((content, logprobs), finish_reason))| ChatChoice {
            index,
            message: AssistantMessage {
                content,
                refusal: None,
            },
            logprobs,
            finish_reason,
        };
        Ok(ChatCompletion {
            usage: self.answer.usage(),
            id: self.answer.id,
            created: self.answer.created,
            model: self.answer.model,
            adapter: self.answer.adapter,
            choices: choices.map(choice).collect(),
            system_fingerprint: FINGERPRINT.to_owned(),
        })
    }

    /// The answer as it comes.
    pub(crate) fn chunks(
        self,
        options: StreamOptions,
    ) -> impl Stream<Item = Result<ChatChunk, ApiError>> + Send {
        let state = ChatChunks {
            told_role: vec![false; self.answer.n],
            answer: self,
            options,
            ended: false,
        };
        let steps = stream::unfold(state, |mut state| async {
            Some((stream::iter(state.step().await?), state))
        });
        steps.flatten()
    }

    fn logprobs_of(&self, tokens: &[GeneratedToken]) -> Vec<ChatLogprob> {
        let told = tokens.iter().filter_map(|token| token.logprobs.as_ref());
        let entry = |logprobs: &farthing_scheduler::TokenLogprobs| ChatLogprob {
            chosen: self.told(&logprobs.chosen),
            top_logprobs: logprobs.top.iter().map(|top| self.told(top)).collect(),
        };
        told.map(entry).collect()
    }

    fn told(&self, token: &TokenLogprob) -> ChatTopLogprob {
        let bytes = self.tokenizer.token_bytes(token.token);
        ChatTopLogprob {
            token: String::from_utf8_lossy(bytes).into_owned(),
            logprob: super::finite(token.logprob),
            bytes: bytes.to_vec(),
        }
    }
}

/// A streamed answer between two chunks.
struct ChatChunks {
    answer: ChatAnswer,
    options: StreamOptions,
    /// Of each choice: whether its first chunk, which tells the role, is out. It goes out with the
    /// first token, so that clients who time the first chunk time the first token.
    told_role: Vec<bool>,
    ended: bool,
}

impl ChatChunks {
    /// The chunks of the next event.
    async fn step(&mut self) -> Option<Vec<Result<ChatChunk, ApiError>>> {
        if self.ended {
            return None;
        }
        let chunks = match self.answer.answer.next().await {
            None => {
                self.ended = true;
                let usage = StreamedUsage::Told(self.answer.answer.usage());
                self.options
                    .include_usage
                    .then(|| self.chunk(None, usage))
                    .into_iter()
                    .collect()
            }
            Some(Err(error)) => {
                self.ended = true;
                return Some(vec![Err(error)]);
            }
            Some(Ok(AnswerEvent::Prompt { .. })) => Vec::new(),
            Some(Ok(AnswerEvent::Delta {
                choice,
                text,
                tokens,
            })) => self.delta(choice, text, &tokens),
            Some(Ok(AnswerEvent::Finished { choice, reason })) => {
                let mut chunks = self.role(choice);
                chunks.push(self.piece(choice, ChatDelta::default(), None, Some(reason)));
                chunks
            }
        };
        Some(chunks.into_iter().map(Ok).collect())
    }

    fn delta(&mut self, choice: usize, text: String, tokens: &[GeneratedToken]) -> Vec<ChatChunk> {
        let mut chunks = self.role(choice);
        let content = self.answer.logprobs_of(tokens);
        // Half a character or a possible stop string is held back: then there is nothing to say.
        if !text.is_empty() || !content.is_empty() {
            let logprobs = self.answer.logprobs.then_some(ChatLogprobs {
                content,
                refusal: None,
            });
            let delta = ChatDelta {
                role: None,
                content: Some(text),
            };
            chunks.push(self.piece(choice, delta, logprobs, None));
        }
        chunks
    }

    fn role(&mut self, choice: usize) -> Vec<ChatChunk> {
        if std::mem::replace(&mut self.told_role[choice], true) {
            return Vec::new();
        }
        let delta = ChatDelta {
            role: Some("assistant"),
            content: Some(String::new()),
        };
        vec![self.piece(choice, delta, None, None)]
    }

    fn piece(
        &self,
        index: usize,
        delta: ChatDelta,
        logprobs: Option<ChatLogprobs>,
        finish_reason: Option<FinishReason>,
    ) -> ChatChunk {
        let usage = self.answer.answer.usage_so_far(self.options);
        self.chunk(
            Some(ChatChunkChoice {
                index,
                delta,
                logprobs,
                finish_reason,
            }),
            usage,
        )
    }

    fn chunk(&self, choice: Option<ChatChunkChoice>, usage: StreamedUsage) -> ChatChunk {
        let answer = &self.answer.answer;
        ChatChunk {
            id: answer.id.clone(),
            created: answer.created,
            model: answer.model.clone(),
            adapter: answer.adapter.clone(),
            system_fingerprint: FINGERPRINT.to_owned(),
            choices: choice.into_iter().collect(),
            usage,
        }
    }
}
