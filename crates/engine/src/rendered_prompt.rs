//! The prompt that a chat template makes of messages.

/// A rendered prompt. It remembers where messages spell control tokens, so that their text never becomes
/// one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RenderedPrompt {
    text: String,
    /// Positions in bytes, ascending. A control token around one of them is the text of a message.
    marks: Vec<usize>,
}

impl RenderedPrompt {
    /// A text without any text of messages: each control token in it is one.
    pub(crate) fn unmarked(text: String) -> Self {
        let marks = Vec::new();
        Self { text, marks }
    }

    /// Takes the marks out of a text.
    pub(crate) fn from_marked(marked: &str, mark: char) -> Self {
        let mut prompt = Self::default();
        for (index, part) in marked.split(mark).enumerate() {
            if index > 0 {
                prompt.marks.push(prompt.text.len());
            }
            prompt.text.push_str(part);
        }
        prompt
    }

    /// The prompt as text.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn marks(&self) -> &[usize] {
        &self.marks
    }
}
