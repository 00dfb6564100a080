//! Turns the tokens of one request into text, in the caller's task.

use std::{collections::VecDeque, sync::Arc};

use farthing_scheduler::{FinishReason, SampledToken, SequenceId, TokenLogprobs};
use tokio::sync::mpsc::UnboundedSender;

use crate::{
    Detokenizer, GeneratedToken, GenerationEvent, GenerationRequest, GenerationUsage, PromptToken,
    Tokenizer, command::Command, mailbox::EventReceiver, sequence_event::SequenceEvent,
};

/// The events of one request. Dropping it aborts the sequences that still run.
pub struct GenerationStream {
    request: GenerationRequest,
    choices: Vec<Choice>,
    prompt_logprobs: Vec<TokenLogprobs>,
    /// Events that are ready to be returned, oldest first.
    ready: VecDeque<GenerationEvent>,
    /// Events that have to wait for the prompt's event.
    held: VecDeque<GenerationEvent>,
    prompt_sent: bool,
    events: EventReceiver,
    commands: UnboundedSender<Command>,
}

struct Choice {
    sequence: SequenceId,
    detokenizer: Detokenizer,
    completion_tokens: usize,
    /// A stop string ended the text; only the account is still to come.
    stopped: bool,
    finished: bool,
}

impl GenerationStream {
    pub(crate) fn new(
        mut request: GenerationRequest,
        tokenizer: Arc<Tokenizer>,
        sequences: Vec<SequenceId>,
        events: EventReceiver,
        commands: UnboundedSender<Command>,
    ) -> Self {
        // A caller that does not read keeps nothing that it does not need.
        // Receipts end with the engine's last one.
        request.adapter = None;
        request.receipts = None;
        if request.prompt_logprobs.is_none() {
            request.prompt = Vec::new();
        }
        let detokenizer = if request.continues_text {
            Detokenizer::continuing(tokenizer, &request.stop)
        } else {
            Detokenizer::new(tokenizer, &request.stop)
        };
        let choice = |sequence| Choice {
            sequence,
            detokenizer: detokenizer.clone(),
            completion_tokens: 0,
            stopped: false,
            finished: false,
        };
        Self {
            choices: sequences.into_iter().map(choice).collect(),
            prompt_logprobs: Vec::new(),
            ready: VecDeque::new(),
            held: VecDeque::new(),
            prompt_sent: request.prompt_logprobs.is_none(),
            request,
            events,
            commands,
        }
    }

    /// The next event; `None` after the last.
    pub async fn next(&mut self) -> Option<GenerationEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.choices.iter().all(|choice| choice.finished) {
                return None;
            }
            match self.events.recv().await {
                Some(event) => self.take(event),
                None => self.fail("the engine stopped before the answer was complete".to_owned()),
            }
        }
    }

    fn take(&mut self, event: SequenceEvent) {
        match event {
            SequenceEvent::Progress { index, sampled } => self.progress(index, sampled),
            SequenceEvent::Finished {
                index,
                reason,
                usage,
            } => self.finish(index, reason, usage),
            SequenceEvent::OverBudget => self.end(GenerationEvent::OverBudget),
            SequenceEvent::Failed { message } => self.fail(message),
            SequenceEvent::CutOff => self.end(GenerationEvent::CutOff),
        }
    }

    fn progress(&mut self, index: usize, sampled: SampledToken) {
        if index == 0 && !self.prompt_sent {
            self.prompt_logprobs.extend(sampled.prompt_logprobs);
            if sampled.token.is_some() {
                self.send_prompt();
            }
        }
        let choice = &mut self.choices[index];
        let Some(id) = sampled.token else { return };
        if choice.stopped || self.request.max_tokens == Some(0) {
            return;
        }
        choice.completion_tokens += 1;
        let piece = choice.detokenizer.push(id);
        let tokens = vec![GeneratedToken {
            id,
            logprobs: sampled.logprobs,
        }];
        if piece.stopped {
            choice.stopped = true;
            // If the engine has ended, the event channel is closed too, and `next` reports it.
            let _ = self.commands.send(Command::Stop(choice.sequence));
        }
        self.push(GenerationEvent::Delta {
            index,
            text: piece.text,
            tokens,
        });
    }

    fn finish(&mut self, index: usize, reason: FinishReason, usage: GenerationUsage) {
        let choice = &mut self.choices[index];
        let rest = if choice.stopped {
            String::new()
        } else {
            choice.detokenizer.finish()
        };
        let reason = if choice.stopped {
            FinishReason::Stop
        } else {
            reason
        };
        let completion_tokens = choice.completion_tokens;
        choice.finished = true;
        if !rest.is_empty() {
            self.push(GenerationEvent::Delta {
                index,
                text: rest,
                tokens: Vec::new(),
            });
        }
        let usage = GenerationUsage {
            completion_tokens,
            ..usage
        };
        self.push(GenerationEvent::Finished {
            index,
            reason,
            usage,
        });
    }

    fn fail(&mut self, message: String) {
        self.end(GenerationEvent::Failed { message });
    }

    /// Ends the request with this event.
    fn end(&mut self, event: GenerationEvent) {
        self.abort();
        self.ready.push_back(event);
    }

    fn send_prompt(&mut self) {
        let logprobs = std::mem::take(&mut self.prompt_logprobs);
        let logprobs = std::iter::once(None).chain(logprobs.into_iter().map(Some));
        let prompt = self.request.prompt.iter().zip(logprobs);
        let prompt = prompt
            .map(|(&id, logprobs)| PromptToken { id, logprobs })
            .collect();
        self.prompt_sent = true;
        self.ready.push_back(GenerationEvent::Prompt(prompt));
        self.ready.append(&mut self.held);
    }

    fn push(&mut self, event: GenerationEvent) {
        if self.prompt_sent {
            self.ready.push_back(event)
        } else {
            self.held.push_back(event)
        }
    }

    /// Aborts every choice that still runs.
    fn abort(&mut self) {
        for choice in self.choices.iter_mut().filter(|choice| !choice.finished) {
            choice.finished = true;
            // If the engine has ended, there is nothing to abort.
            let _ = self.commands.send(Command::Abort(choice.sequence));
        }
    }
}

impl Drop for GenerationStream {
    fn drop(&mut self) {
        self.abort();
    }
}
