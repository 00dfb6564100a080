//! The bytes of every token.

use std::collections::HashMap;

/// The bytes of all tokens in one buffer.
#[derive(Debug, Default)]
pub(super) struct TokenBytes {
    bytes: Vec<u8>,
    /// Where the bytes of each token end. They start at the end of the previous token.
    ends: Vec<u32>,
    is_special: Vec<bool>,
}

impl TokenBytes {
    /// Appends a token in the vocabulary's spelling.
    pub(super) fn push_spelled(&mut self, token: &str, alphabet: &Alphabet) {
        alphabet.read(token, &mut self.bytes);
        self.end_token(false);
    }

    /// Appends a token whose name is its text.
    pub(super) fn push_added(&mut self, token: &str, is_special: bool) {
        self.bytes.extend_from_slice(token.as_bytes());
        self.end_token(is_special);
    }

    fn end_token(&mut self, is_special: bool) {
        self.ends.push(self.bytes.len() as u32);
        self.is_special.push(is_special);
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn get(&self, id: u32) -> &[u8] {
        let id = id as usize;
        let Some(&end) = self.ends.get(id) else {
            return &[];
        };
        let start = if id == 0 { 0 } else { self.ends[id - 1] };
        &self.bytes[start as usize..end as usize]
    }

    pub(super) fn is_special(&self, id: u32) -> bool {
        self.is_special.get(id as usize).is_some_and(|&it| it)
    }
}

/// GPT-2's printable characters for the bytes 0 to 255 (`bytes_to_unicode` of its encoder).
/// Printable characters of Latin-1 represent themselves; the other bytes, in order, are the
/// characters from U+0100 on.
pub fn byte_level_alphabet() -> [char; 256] {
    let mut stand_ins = '\u{100}'..;
    std::array::from_fn(|byte| match byte as u8 {
        byte @ (b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF) => char::from(byte),
        _ => stand_ins.next().expect("68 characters follow U+0100"),
    })
}

/// How a vocabulary spells bytes.
pub(super) enum Alphabet {
    /// GPT-2's 256 printable characters, one for each byte.
    ByteLevel(HashMap<char, u8>),
    /// `▁` for a space, `<0x0A>` for a byte without a piece of its own.
    SentencePiece,
}

impl Alphabet {
    /// GPT-2's alphabet.
    pub(super) fn byte_level() -> Self {
        Self::ByteLevel(
            (0..)
                .zip(byte_level_alphabet())
                .map(|(byte, spelled)| (spelled, byte))
                .collect(),
        )
    }

    fn read(&self, token: &str, bytes: &mut Vec<u8>) {
        match self {
            Self::ByteLevel(byte_of) => {
                let before = bytes.len();
                for character in token.chars() {
                    let Some(&byte) = byte_of.get(&character) else {
                        // A token with other characters represents itself.
                        bytes.truncate(before);
                        bytes.extend_from_slice(token.as_bytes());
                        return;
                    };
                    bytes.push(byte);
                }
            }
            Self::SentencePiece => match byte_piece(token) {
                Some(byte) => bytes.push(byte),
                None => bytes.extend_from_slice(token.replace('\u{2581}', " ").as_bytes()),
            },
        }
    }
}

/// The byte of a piece such as `<0x0A>`.
fn byte_piece(piece: &str) -> Option<u8> {
    let digits = piece.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok())?
}
