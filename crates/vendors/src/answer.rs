//! What is known of an answer while it is read, whatever the dialect.

use std::collections::VecDeque;

use serde_json::Value;

use crate::tool_calls::{CallPart, CallPlace, ToolCalls};
use crate::usage_counts::UsageCounts;
use crate::vendor_text::TextCleaner;
use crate::{VendorError, VendorEvent, VendorFinish, VendorPiece};

/// Collects the events of an answer, and what its account needs.
pub(crate) struct Answer {
    pub(crate) served_model: Option<String>,
    pub(crate) vendor_request_id: Option<String>,
    /// What the vendor says about the attempt that has another price than the list's.
    pub(crate) other_price: Option<String>,
    pub(crate) usage: UsageCounts,
    pub(crate) cleaner: TextCleaner,
    /// The bytes of content so far, for an estimate.
    pub(crate) content_bytes: usize,
    events: VecDeque<VendorEvent>,
    choices: Vec<Choice>,
    has_begun: bool,
    has_content: bool,
    request_id: String,
}

#[derive(Clone, Default)]
struct Choice {
    calls: ToolCalls,
    has_begun: bool,
    is_finished: bool,
}

impl Answer {
    pub(crate) fn new(choices: usize, request_id: &str, cleaner: TextCleaner) -> Self {
        Self {
            served_model: None,
            vendor_request_id: None,
            other_price: None,
            usage: UsageCounts::default(),
            cleaner,
            content_bytes: 0,
            events: VecDeque::new(),
            choices: vec![Choice::default(); choices],
            has_begun: false,
            has_content: false,
            request_id: request_id.to_owned(),
        }
    }

    /// Takes the model's name, the first time that it is there.
    pub(crate) fn served_by(&mut self, model: Option<&str>) {
        let model = model.filter(|model| !model.is_empty());
        if self.served_model.is_none() {
            self.served_model = model.map(|model| self.cleaner.clean(model));
        }
    }

    /// Takes what the vendor says about how it served, which may have a price of its own.
    pub(crate) fn served_with(&mut self, name: &str, value: &Value, usual: &[&str]) {
        if let Some(value) = value.as_str().filter(|value| !usual.contains(value)) {
            self.other_price = Some(format!("{name} {}", self.cleaner.clean(value)));
        }
    }

    /// The vendor's first event was read.
    pub(crate) fn begin(&mut self) {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.events.push_back(VendorEvent::Began {
                served_model: self.served_model.clone(),
                vendor_request_id: self.vendor_request_id.clone(),
            });
        }
    }

    /// Adds text of a kind. Empty text is none.
    pub(crate) fn text(
        &mut self,
        choice: usize,
        kind: fn(String) -> VendorPiece,
        text: &str,
    ) -> Result<(), VendorError> {
        if text.is_empty() {
            return Ok(());
        }
        self.content_bytes += text.len();
        self.piece(choice, kind(text.to_owned()))
    }

    pub(crate) fn logprobs(&mut self, choice: usize, logprobs: &Value) -> Result<(), VendorError> {
        match logprobs {
            Value::Null => Ok(()),
            logprobs => self.piece(choice, VendorPiece::Logprobs(logprobs.clone())),
        }
    }

    /// Adds a part of a call.
    pub(crate) fn call(&mut self, choice: usize, part: CallPart) -> Result<(), VendorError> {
        let place = self.choice(choice)?.calls.place(&part).map_err(malformed)?;
        self.call_part(choice, place, part)
    }

    /// Adds a call that came in one piece.
    pub(crate) fn whole_call(&mut self, choice: usize, part: CallPart) -> Result<(), VendorError> {
        let place = self.choice(choice)?.calls.begin(&part).map_err(malformed)?;
        self.call_part(choice, place, part)
    }

    fn call_part(
        &mut self,
        choice: usize,
        place: CallPlace,
        part: CallPart,
    ) -> Result<(), VendorError> {
        if !place.is_new && !place.is_named_now && part.arguments.is_empty() {
            return Ok(());
        }
        let index = place.index;
        let name = part.name.filter(|_| place.is_named_now);
        let own_id = || format!("call_{}_{choice}_{index}", self.request_id);
        let id = place.is_new.then(|| match part.id {
            Some(id) if !id.is_empty() && !place.repeats_id => id.to_owned(),
            _ => own_id(),
        });
        self.content_bytes += part.arguments.len() + name.map_or(0, str::len);
        let piece = VendorPiece::ToolCall {
            index,
            id,
            name: name.map(str::to_owned),
            arguments: part.arguments.to_owned(),
        };
        self.piece(choice, piece)
    }

    /// Ends a choice. A bare stop after calls of tools waits for their results; a limit or a filter
    /// stays what it is.
    pub(crate) fn finish(
        &mut self,
        choice: usize,
        reason: VendorFinish,
    ) -> Result<(), VendorError> {
        let state = self.choice(choice)?;
        if std::mem::replace(&mut state.is_finished, true) {
            return Ok(());
        }
        let reason = match reason {
            VendorFinish::Stop if !state.calls.is_empty() => VendorFinish::ToolCalls,
            reason => reason,
        };
        self.has_content = true;
        self.events
            .push_back(VendorEvent::Finished { choice, reason });
        Ok(())
    }

    /// Ends all choices that are not finished.
    pub(crate) fn finish_all(&mut self, reason: VendorFinish) -> Result<(), VendorError> {
        (0..self.choices.len()).try_for_each(|choice| self.finish(choice, reason))
    }

    /// Whether every choice that was asked for is finished.
    pub(crate) fn is_complete(&self) -> bool {
        self.choices.iter().all(|choice| choice.is_finished)
    }

    /// What is wrong with an answer that ends here, if anything is.
    pub(crate) fn check_complete(&self) -> Result<(), VendorError> {
        if self.is_complete() {
            return Ok(());
        }
        let begun = || self.choices.iter().filter(|choice| choice.has_begun);
        let given = begun().filter(|choice| choice.is_finished).count();
        match given > 0 && given == begun().count() {
            true => Err(VendorError::MissingChoices {
                wanted: self.choices.len(),
                given,
            }),
            false => Err(VendorError::Truncated),
        }
    }

    /// Whether content or an end was read, so that the attempt has its first content.
    pub(crate) fn has_content(&self) -> bool {
        self.has_content
    }

    /// The next event that was read.
    pub(crate) fn next_event(&mut self) -> Option<VendorEvent> {
        self.events.pop_front()
    }

    fn piece(&mut self, choice: usize, piece: VendorPiece) -> Result<(), VendorError> {
        if self.choice(choice)?.is_finished {
            return Err(malformed("a choice has content after its end"));
        }
        self.has_content = true;
        self.events.push_back(VendorEvent::Piece { choice, piece });
        Ok(())
    }

    fn choice(&mut self, choice: usize) -> Result<&mut Choice, VendorError> {
        let wanted = self.choices.len();
        let state = self.choices.get_mut(choice);
        let state = state.ok_or_else(|| {
            malformed(&format!(
                "it has choice {choice}, and {wanted} were asked for"
            ))
        })?;
        state.has_begun = true;
        Ok(state)
    }
}

pub(crate) fn malformed(problem: &str) -> VendorError {
    VendorError::Malformed {
        problem: problem.to_owned(),
    }
}
