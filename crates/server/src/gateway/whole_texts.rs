//! The texts of an answer, for those who need all of them.

use farthing_gateway::Check;

use crate::request::observer::AnswerObserver;

/// Texts beyond this are not collected: a check gets a text that is one piece longer, and refuses it.
const MAX_TEXT_BYTES: usize = Check::MAX_ANSWER_BYTES;

/// Collects the texts of an answer's choices, and passes them on when it is complete.
pub(super) struct WholeTexts {
    texts: Vec<String>,
    then: Box<dyn FnOnce(Vec<String>) + Send>,
}

impl WholeTexts {
    pub(super) fn new(choices: usize, then: impl FnOnce(Vec<String>) + Send + 'static) -> Self {
        Self {
            texts: vec![String::new(); choices],
            then: Box::new(then),
        }
    }
}

impl AnswerObserver for WholeTexts {
    fn text(&mut self, choice: usize, text: &str) {
        if let Some(whole) = self.texts.get_mut(choice)
            && whole.len() <= MAX_TEXT_BYTES
        {
            whole.push_str(text);
        }
    }

    fn complete(self: Box<Self>) {
        (self.then)(self.texts);
    }
}
