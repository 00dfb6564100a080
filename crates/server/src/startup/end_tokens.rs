//! The tokens that end an answer.

use std::fmt;
use std::sync::Arc;

use farthing_engine::Tokenizer;

/// Who says that a token ends an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndOrigin {
    /// `config.json`, `generation_config.json`, or the GGUF's metadata.
    Config,
    /// `eos_token` of the tokenizer.
    Tokenizer,
    /// The chat template writes it after an answer.
    ChatTemplate,
}

/// Tokens that end an answer, each with everyone who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EndTokens(Vec<(u32, Vec<EndOrigin>)>);

impl EndTokens {
    /// All tokens of all origins.
    pub(crate) fn of(origins: impl IntoIterator<Item = (EndOrigin, Vec<u32>)>) -> Self {
        let mut tokens: Vec<(u32, Vec<EndOrigin>)> = Vec::new();
        for (origin, ids) in origins {
            for id in ids {
                match tokens.iter_mut().find(|(known, _)| *known == id) {
                    Some((_, origins)) if origins.contains(&origin) => {}
                    Some((_, origins)) => origins.push(origin),
                    None => tokens.push((id, vec![origin])),
                }
            }
        }
        Self(tokens)
    }

    /// Their ids.
    pub(crate) fn ids(&self) -> Arc<[u32]> {
        self.0.iter().map(|(id, _)| *id).collect()
    }

    /// `</s> (config, tokenizer), <|im_end|> (chat template)`.
    pub(crate) fn describe(&self, tokenizer: &Tokenizer) -> String {
        if self.0.is_empty() {
            return "none: answers end at their maximum length".to_owned();
        }
        let tokens = self.0.iter().map(|(id, origins)| {
            let text = tokenizer.decode(&[*id], false);
            let origins: Vec<String> = origins.iter().map(EndOrigin::to_string).collect();
            format!("{text} ({})", origins.join(", "))
        });
        tokens.collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for EndOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Config => "config",
            Self::Tokenizer => "tokenizer",
            Self::ChatTemplate => "chat template",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{EndOrigin, EndTokens};

    #[test]
    fn sources_add_up() {
        let tokens = EndTokens::of([
            (EndOrigin::Config, vec![2, 7, 2]),
            (EndOrigin::Tokenizer, vec![7]),
            (EndOrigin::ChatTemplate, vec![9]),
        ]);
        assert_eq!(*tokens.ids(), [2, 7, 9]);
        let whose: Vec<_> = tokens.0.iter().map(|(_, origins)| origins.len()).collect();
        assert_eq!(whose, [1, 2, 1]);
        assert!(EndTokens::of([]).ids().is_empty());
    }
}
