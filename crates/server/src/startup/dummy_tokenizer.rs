//! A tokenizer for a model without files.

use farthing_engine::{TextError, Tokenizer, byte_level_alphabet};
use farthing_model::{GgufTokenizer, ModelConfig};

/// One message per line.
const CHAT_TEMPLATE: &str = "{% for message in messages %}{{ message['role'] }}: \
                             {{ message['content'] }}\n{% endfor %}assistant:";

/// One token per byte, then a generated word for every other id of the vocabulary; and a chat
/// template.
pub(crate) fn make(config: &ModelConfig) -> Result<(Tokenizer, Option<String>), TextError> {
    let mut tokens = byte_level_alphabet().map(String::from).to_vec();
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
