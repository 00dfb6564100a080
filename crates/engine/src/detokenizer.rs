//! Token ids back to text, as they arrive.

use std::str;
use std::sync::Arc;

use crate::Tokenizer;
use crate::stop::StopStrings;

/// What a token adds to the text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// Text that is certain by now; often empty, or more than this token's own.
    pub text: String,
    /// A stop string is complete: the text ends before it.
    pub stopped: bool,
}

/// Turns one sequence's tokens into text. What it emits, joined, is what [`Tokenizer::decode`]
/// makes of all tokens without special ones, up to the first stop string. It never emits a part
/// of a character.
#[derive(Clone, Debug)]
pub struct Detokenizer {
    tokenizer: Arc<Tokenizer>,
    stop: StopStrings,
    /// The beginning of a character.
    bytes: Vec<u8>,
    /// Text that may be the beginning of a stop string.
    held: String,
    strip_space: bool,
    stopped: bool,
}

impl Detokenizer {
    /// For an answer that begins a text of its own.
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

    /// For an answer that goes on from a prompt's text: a space before its first word is the
    /// answer's, not SentencePiece's.
    pub fn continuing(tokenizer: Arc<Tokenizer>, stop: &[String]) -> Self {
        Self {
            strip_space: false,
            ..Self::new(tokenizer, stop)
        }
    }

    /// Takes the next token. After a stop string, all further tokens are ignored.
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

    /// What was held back, once no token follows. An incomplete character becomes U+FFFD.
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

    /// Moves complete characters, and U+FFFD for bytes that can never become one, to the text.
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
