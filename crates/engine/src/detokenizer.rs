//! Turns token ids into text as they arrive.

use std::str;
use std::sync::Arc;

use crate::Tokenizer;
use crate::stop::StopStrings;

/// The text that a token adds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// Text that can no longer change. Often empty, or longer than the token's own text.
    pub text: String,
    /// A stop string is complete; the text ends before it.
    pub stopped: bool,
}

/// Turns the tokens of one sequence into text. All pieces together equal [`Tokenizer::decode`] of
/// all tokens without special ones, up to the first stop string. A piece never ends within a
/// character.
#[derive(Clone, Debug)]
pub struct Detokenizer {
    tokenizer: Arc<Tokenizer>,
    stop: StopStrings,
    /// The first bytes of an incomplete character.
    bytes: Vec<u8>,
    /// Text that may be the start of a stop string.
    held: String,
    strip_space: bool,
    stopped: bool,
}

impl Detokenizer {
    /// For an answer that is a text of its own.
    pub fn new(tokenizer: Arc<Tokenizer>, stop: &[String]) -> Self {
        Self {
            strip_space: tokenizer.strips_leading_space(),
            tokenizer,
            stop: StopStrings::new(stop),
            bytes: Vec::new(),
            held: String::new(),
            stopped: false,
        }
    }

    /// For an answer that continues the prompt's text. A space before its first word belongs to the
    /// answer and not to SentencePiece.
    pub fn continuing(tokenizer: Arc<Tokenizer>, stop: &[String]) -> Self {
        Self {
            strip_space: false,
            ..Self::new(tokenizer, stop)
        }
    }

    /// Adds the next token. After a stop string all tokens are ignored.
    pub fn push(&mut self, token: u32) -> Piece {
        if self.stopped {
            return Piece {
                text: String::new(),
                stopped: true,
            };
        }
        if !self.tokenizer.is_special(token) {
            self.bytes
                .extend_from_slice(self.tokenizer.token_bytes(token));
            self.take_leading_space();
            self.take_characters();
        }
        let end = match self.stop.find(&self.held) {
            Some(start) => {
                self.stopped = true;
                self.held.truncate(start);
                start
            }
            None => self.held.len() - self.stop.held_back(&self.held),
        };
        Piece {
            text: self.held.drain(..end).collect(),
            stopped: self.stopped,
        }
    }

    /// Returns the text that was held back, after the last token. An incomplete character becomes
    /// U+FFFD.
    pub fn finish(&mut self) -> String {
        if self.stopped {
            return String::new();
        }
        self.stopped = true;
        let mut text = std::mem::take(&mut self.held);
        text.push_str(&String::from_utf8_lossy(&std::mem::take(&mut self.bytes)));
        text
    }

    fn take_leading_space(&mut self) {
        if self.strip_space && !self.bytes.is_empty() {
            self.strip_space = false;
            if self.bytes[0] == b' ' {
                self.bytes.remove(0);
            }
        }
    }

    /// Moves complete characters to the text. Bytes that can never form a character become U+FFFD.
    fn take_characters(&mut self) {
        let mut taken = 0;
        for chunk in self.bytes.utf8_chunks() {
            self.held.push_str(chunk.valid());
            taken += chunk.valid().len();
            let broken = chunk.invalid();
            let is_last = taken + broken.len() == self.bytes.len();
            let may_go_on = str::from_utf8(broken).is_err_and(|error| error.error_len().is_none());
            if !(broken.is_empty() || is_last && may_go_on) {
                self.held.push(char::REPLACEMENT_CHARACTER);
                taken += broken.len();
            }
        }
        self.bytes.drain(..taken);
    }
}
