//! From events to a completion or its chunks, which have the same shape.

use farthing_api::{
    Completion, CompletionChoice, CompletionLogprobs, StreamOptions, StreamedUsage,
};
use futures_util::{Stream, StreamExt, stream};

use super::answer::{Answer, AnswerEvent, FINGERPRINT};
use super::answer_memory::{AnswerMemory, HeldAnswer};
use crate::http::error::ApiError;

/// An answer to a completion request.
pub(crate) struct CompletionAnswer {
    pub answer: Answer<CompletionLogprobs>,
    /// The number of choices over all prompts.
    pub num_choices: usize,
    /// Whether the request asked for log-probabilities.
    pub logprobs: bool,
}

impl CompletionAnswer {
    /// The whole answer, not streamed.
    pub(crate) async fn whole(
        mut self,
        memory: &AnswerMemory,
    ) -> Result<(Completion, HeldAnswer), ApiError> {
        let mut held = memory.open();
        let new_choice = |index| CompletionChoice {
            index,
            text: String::new(),
            logprobs: self.logprobs.then(CompletionLogprobs::default),
            finish_reason: None,
        };
        let mut choices: Vec<_> = (0..self.num_choices).map(new_choice).collect();
        while let Some(event) = self.answer.next().await {
            for piece in pieces(event?) {
                let logprobs = piece.logprobs.as_ref();
                let bytes = logprobs.map_or(0, CompletionLogprobs::memory_bytes);
                held.add(piece.text.len() + bytes)
                    .map_err(|error| self.answer.fail(error))?;
                let choice = &mut choices[piece.index];
                choice.text.push_str(&piece.text);
                choice.finish_reason = piece.finish_reason.or(choice.finish_reason);
                if let (Some(whole), Some(more)) = (&mut choice.logprobs, piece.logprobs) {
                    whole.append(more);
                }
            }
        }
        let usage = StreamedUsage::Complete(self.answer.usage());
        Ok((completion(&self.answer, choices, usage), held))
    }

    /// The answer as a stream of chunks.
    pub(crate) fn chunks(
        self,
        options: StreamOptions,
    ) -> impl Stream<Item = Result<Completion, ApiError>> + Send {
        let state = CompletionChunks {
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
struct CompletionChunks {
    answer: Answer<CompletionLogprobs>,
    options: StreamOptions,
    ended: bool,
}

impl CompletionChunks {
    /// The chunks of the next event.
    async fn step(&mut self) -> Option<Vec<Result<Completion, ApiError>>> {
        if self.ended {
            return None;
        }
        match self.answer.next().await {
            None => {
                self.ended = true;
                let usage = StreamedUsage::Complete(self.answer.usage());
                let last = self
                    .options
                    .include_usage
                    .then(|| completion(&self.answer, Vec::new(), usage));
                Some(last.into_iter().map(Ok).collect())
            }
            Some(Err(error)) => {
                self.ended = true;
                Some(vec![Err(error)])
            }
            Some(Ok(event)) => {
                let usage = self.answer.usage_so_far(self.options);
                let chunk = |piece| Ok(completion(&self.answer, vec![piece], usage.clone()));
                Some(pieces(event).into_iter().map(chunk).collect())
            }
        }
    }
}

/// What an event adds to its choice.
fn pieces(event: AnswerEvent<CompletionLogprobs>) -> Vec<CompletionChoice> {
    match event {
        AnswerEvent::Delta { choice, pieces } => {
            let pieces = pieces.into_iter().map(|piece| CompletionChoice {
                index: choice,
                text: piece.text,
                logprobs: piece.logprobs,
                finish_reason: None,
            });
            pieces.collect()
        }
        // Only chats have them.
        AnswerEvent::Extra { .. } => Vec::new(),
        AnswerEvent::Finished { choice, reason } => vec![CompletionChoice {
            index: choice,
            text: String::new(),
            logprobs: None,
            finish_reason: Some(reason),
        }],
    }
}

fn completion(
    answer: &Answer<CompletionLogprobs>,
    choices: Vec<CompletionChoice>,
    usage: StreamedUsage,
) -> Completion {
    Completion {
        id: answer.id.clone(),
        created: answer.created,
        model: answer.model.clone(),
        adapter: answer.adapter.clone(),
        system_fingerprint: FINGERPRINT.to_owned(),
        choices,
        usage,
    }
}
