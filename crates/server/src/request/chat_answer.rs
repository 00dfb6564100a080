//! From events to a chat completion or its chunks.

use farthing_api::{
    AssistantMessage, ChatChoice, ChatChunk, ChatChunkChoice, ChatCompletion, ChatDelta,
    ChatLogprobs, FinishReason, StreamOptions, StreamedUsage, ToolCall, ToolCallDelta,
};
use futures_util::{Stream, StreamExt, stream};

use super::answer::{Answer, AnswerEvent, FINGERPRINT};
use super::answer_memory::{AnswerMemory, HeldAnswer};
use super::provider::{Extra, Piece};
use crate::http::error::ApiError;

/// An answer to a chat request.
pub(crate) struct ChatAnswer {
    pub answer: Answer<ChatLogprobs>,
    pub num_choices: usize,
    /// Whether the request asked for log-probabilities.
    pub logprobs: bool,
}

impl ChatAnswer {
    /// The whole answer, not streamed.
    pub(crate) async fn whole(
        mut self,
        memory: &AnswerMemory,
    ) -> Result<(ChatCompletion, HeldAnswer), ApiError> {
        let mut held = memory.open();
        let new_choice = |index| ChatChoice {
            index,
            message: AssistantMessage {
                content: Some(String::new()),
                ..AssistantMessage::default()
            },
            logprobs: self.logprobs.then(ChatLogprobs::default),
            finish_reason: FinishReason::Stop,
        };
        let mut choices: Vec<_> = (0..self.num_choices).map(new_choice).collect();
        while let Some(event) = self.answer.next().await {
            match event? {
                AnswerEvent::Delta { choice, pieces } => {
                    let choice = &mut choices[choice];
                    for piece in pieces {
                        let logprobs = piece.logprobs.as_ref();
                        let bytes = logprobs.map_or(0, ChatLogprobs::memory_bytes);
                        held.add(piece.text.len() + bytes)
                            .map_err(|error| self.answer.fail(error))?;
                        let content = choice.message.content.get_or_insert_default();
                        content.push_str(&piece.text);
                        if let (Some(whole), Some(more)) = (&mut choice.logprobs, piece.logprobs) {
                            whole.content.extend(more.content);
                        }
                    }
                }
                AnswerEvent::Extra { choice, extra } => {
                    held.add(extra_bytes(&extra))
                        .map_err(|error| self.answer.fail(error))?;
                    add_extra(&mut choices[choice].message, extra);
                }
                AnswerEvent::Finished { choice, reason } => choices[choice].finish_reason = reason,
            }
        }
        for ChatChoice { message, .. } in &mut choices {
            // OpenAI's form of an answer without text.
            let is_without_text = !message.tool_calls.is_empty() || message.refusal.is_some();
            message
                .content
                .take_if(|text| text.is_empty() && is_without_text);
        }
        let whole = ChatCompletion {
            usage: self.answer.usage(),
            id: self.answer.id.clone(),
            created: self.answer.created,
            model: self.answer.model.clone(),
            adapter: self.answer.adapter.clone(),
            choices,
            system_fingerprint: FINGERPRINT.to_owned(),
        };
        Ok((whole, held))
    }

    /// The answer as a stream of chunks.
    pub(crate) fn chunks(
        self,
        options: StreamOptions,
    ) -> impl Stream<Item = Result<ChatChunk, ApiError>> + Send {
        let state = ChatChunks {
            sent_role: vec![false; self.num_choices],
            answer: self.answer,
            options,
            ended: false,
        };
        let steps = stream::unfold(state, |mut state| async {
            Some((stream::iter(state.step().await?), state))
        });
        steps.flatten()
    }
}

/// The state of a streamed answer between two chunks.
struct ChatChunks {
    answer: Answer<ChatLogprobs>,
    options: StreamOptions,
    /// Whether the chunk with the role was sent, for each choice. It is sent with the first token, so
    /// that clients that time the first chunk time the first token.
    sent_role: Vec<bool>,
    ended: bool,
}

impl ChatChunks {
    /// The chunks of the next event.
    async fn step(&mut self) -> Option<Vec<Result<ChatChunk, ApiError>>> {
        if self.ended {
            return None;
        }
        let chunks = match self.answer.next().await {
            None => {
                self.ended = true;
                let usage = StreamedUsage::Complete(self.answer.usage());
                let last = self.options.include_usage.then(|| self.chunk(None, usage));
                last.into_iter().collect()
            }
            Some(Err(error)) => {
                self.ended = true;
                return Some(vec![Err(error)]);
            }
            Some(Ok(AnswerEvent::Delta { choice, pieces })) => self.delta(choice, pieces),
            Some(Ok(AnswerEvent::Extra { choice, extra })) => {
                let mut chunks = self.role(choice);
                chunks.push(self.piece(choice, extra_delta(extra), None, None));
                chunks
            }
            Some(Ok(AnswerEvent::Finished { choice, reason })) => {
                let mut chunks = self.role(choice);
                chunks.push(self.piece(choice, ChatDelta::default(), None, Some(reason)));
                chunks
            }
        };
        Some(chunks.into_iter().map(Ok).collect())
    }

    fn delta(&mut self, choice: usize, pieces: Vec<Piece<ChatLogprobs>>) -> Vec<ChatChunk> {
        let mut chunks = self.role(choice);
        for piece in pieces {
            let delta = ChatDelta {
                content: Some(piece.text),
                ..ChatDelta::default()
            };
            chunks.push(self.piece(choice, delta, piece.logprobs, None));
        }
        chunks
    }

    fn role(&mut self, choice: usize) -> Vec<ChatChunk> {
        if std::mem::replace(&mut self.sent_role[choice], true) {
            return Vec::new();
        }
        let delta = ChatDelta {
            role: Some("assistant"),
            content: Some(String::new()),
            ..ChatDelta::default()
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
        let usage = self.answer.usage_so_far(self.options);
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
        let answer = &self.answer;
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

fn extra_delta(extra: Extra) -> ChatDelta {
    let mut delta = ChatDelta::default();
    match extra {
        Extra::Refusal(text) => delta.refusal = Some(text),
        Extra::Reasoning(text) => delta.reasoning_content = Some(text),
        Extra::ToolCall(part) => delta.tool_calls.push(part),
    }
    delta
}

fn extra_bytes(extra: &Extra) -> usize {
    match extra {
        Extra::Refusal(text) | Extra::Reasoning(text) => text.len(),
        Extra::ToolCall(part) => {
            let names = part.id.iter().chain(&part.function.name);
            size_of::<ToolCall>()
                + part.function.arguments.len()
                + names.map(String::len).sum::<usize>()
        }
    }
}

/// Adds a part to a whole message. The parts of a call have its index, and calls come in order.
fn add_extra(message: &mut AssistantMessage, extra: Extra) {
    match extra {
        Extra::Refusal(text) => message.refusal.get_or_insert_default().push_str(&text),
        Extra::Reasoning(text) => {
            let reasoning = message.reasoning_content.get_or_insert_default();
            reasoning.push_str(&text);
        }
        Extra::ToolCall(ToolCallDelta {
            index,
            id,
            function,
            ..
        }) => {
            if index >= message.tool_calls.len() {
                message.tool_calls.push(ToolCall::default());
            }
            // A provider's calls have no gaps, so that a new one is the last.
            let Some(call) = message.tool_calls.get_mut(index) else {
                return;
            };
            if let Some(id) = id {
                call.id = id;
            }
            if let Some(name) = function.name {
                call.function.name.push_str(&name);
            }
            call.function.arguments.push_str(&function.arguments);
        }
    }
}
