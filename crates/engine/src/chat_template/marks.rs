//! Marks in the text of messages, by which a rendered prompt separates it from the template's.
//!
//! A control token that a message spells gets a mark after its first character. A mark is a character
//! that no message has. It goes where its token goes, whatever a template trims, joins or cuts off, and
//! texts without control tokens have none.

use std::borrow::Cow;

use minijinja::machinery::{Token, tokenize};
use minijinja::syntax::SyntaxConfig;

use crate::TextError;
use crate::tokenizer::ControlTokens;

use super::{ChatContent, ChatMessage};

/// Where marks are set in one rendering.
pub(super) struct Marks<'a> {
    control: &'a ControlTokens,
    pub(super) character: char,
    /// Tokens that stay as they are in the assistant's messages, because the template looks for them:
    /// templates of reasoning models cut earlier thoughts off at `</think>`.
    pub(super) left_to_template: Vec<u32>,
}

impl<'a> Marks<'a> {
    /// The marks for some messages; `None` if they spell no control token.
    pub(super) fn needed(
        messages: &[ChatMessage],
        control: &'a ControlTokens,
    ) -> Result<Option<Self>, TextError> {
        if texts(messages).all(|(_, text)| control.marks(text).is_empty()) {
            return Ok(None);
        }
        // Noncharacters, which no text should have.
        let unused = |mark: &char| texts(messages).all(|(_, text)| !text.contains(*mark));
        let character = ('\u{FDD0}'..='\u{FDEF}').find(unused).ok_or_else(|| {
            TextError::Render("they contain all characters from U+FDD0 to U+FDEF".to_owned())
        })?;
        Ok(Some(Self {
            control,
            character,
            left_to_template: Vec::new(),
        }))
    }

    /// The text of a message with its marks.
    pub(super) fn set<'t>(&self, role: &str, text: &'t str) -> Cow<'t, str> {
        let mut marks = self.control.marks(text);
        if role == ASSISTANT {
            marks.retain(|mark| !self.left_to_template.contains(&mark.id));
        }
        marks.dedup_by_key(|mark| mark.at);
        if marks.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut marked = String::with_capacity(text.len() + 3 * marks.len());
        let mut from = 0;
        for mark in marks {
            marked.push_str(&text[from..mark.at]);
            marked.push(self.character);
            from = mark.at;
        }
        marked.push_str(&text[from..]);
        Cow::Owned(marked)
    }

    /// Those of some tokens that the assistant's messages spell.
    pub(super) fn spelled_by_assistant(&self, messages: &[ChatMessage], ids: &[u32]) -> Vec<u32> {
        let of_assistant = texts(messages).filter(|(role, _)| *role == ASSISTANT);
        let mut spelled: Vec<u32> = of_assistant
            .flat_map(|(_, text)| self.control.marks(text))
            .map(|mark| mark.id)
            .filter(|id| ids.contains(id))
            .collect();
        spelled.sort_unstable();
        spelled.dedup();
        spelled
    }
}

/// The control tokens in the string constants of a template: it may look for them in messages.
pub(super) fn in_constants(
    source: &str,
    syntax: &SyntaxConfig,
    control: &ControlTokens,
) -> Vec<u32> {
    let mut ids = Vec::new();
    // After an error there may be more of them without end. The parser reports it.
    for (token, _) in tokenize(source, false, syntax.clone()).map_while(Result::ok) {
        match token {
            Token::Str(constant) => ids.extend(control.named_in(constant)),
            Token::String(constant) => ids.extend(control.named_in(&constant)),
            _ => {}
        }
    }
    ids.sort_unstable();
    ids.dedup();
    ids
}

const ASSISTANT: &str = "assistant";

/// All texts that callers write, each with the role of its message.
fn texts(messages: &[ChatMessage]) -> impl Iterator<Item = (&str, &str)> {
    messages.iter().flat_map(|message| {
        let content = match &message.content {
            ChatContent::Text(text) => std::slice::from_ref(text),
            ChatContent::Parts(texts) => texts,
        };
        let texts = content.iter().chain(&message.name);
        texts.map(|text| (message.role.as_str(), text.as_str()))
    })
}
