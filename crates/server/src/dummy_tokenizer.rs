//! A stand-in for the text of a model that has a shape but no files.

use farthing_engine::{TextError, Tokenizer};
use farthing_model::{GgufTokenizer, ModelConfig};

/// One message a line.
const CHAT_TEMPLATE: &str = "{% for message in messages %}{{ message['role'] }}: \
                             {{ message['content'] }}\n{% endfor %}assistant:";

/// One token a byte, then a made-up word for every other id of the vocabulary; and a template.
pub(crate) fn make(config: &ModelConfig) -> Result<(Tokenizer, Option<String>), TextError> {
    let mut tokens: Vec<String> = (0..=255)
        .map(byte_level_spelling)
        .map(String::from)
        .collect();
    // A byte-level BPE has at least one merge.
    tokens.push("th".to_owned());
    tokens.extend((tokens.len()..config.vocab_size).map(|id| format!("\u{120}word{id}")));
    tokens.truncate(config.vocab_size.max(257));
    let gguf = GgufTokenizer {
        model: "gpt2".to_owned(),
        token_types: vec![1; tokens.len()],
        merges: vec!["t h".to_owned()],
        tokens,
        ..GgufTokenizer::default()
    };
    Ok((Tokenizer::from_gguf(&gguf)?, Some(CHAT_TEMPLATE.to_owned())))
}

/// The printable character that stands for a byte in GPT-2's vocabulary (`bytes_to_unicode` of
/// its encoder): itself where it is printable, else the next one from U+0100 on.
fn byte_level_spelling(byte: u8) -> char {
    let is_printable = |b: u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    match is_printable(byte) {
        true => char::from(byte),
        false => {
            let rank = (0..byte).filter(|&b| !is_printable(b)).count() as u8;
            char::from_u32(0x100 + u32::from(rank)).unwrap_or(char::REPLACEMENT_CHARACTER)
        }
    }
}
