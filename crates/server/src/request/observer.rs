//! Someone who sees an answer pass.

/// Sees the text of an answer on its way to the caller.
pub(crate) trait AnswerObserver: Send {
    /// A choice gained text.
    fn text(&mut self, choice: usize, text: &str);

    /// Every choice has ended. An answer that fails, or whose caller leaves, never gets here.
    fn complete(self: Box<Self>);
}
