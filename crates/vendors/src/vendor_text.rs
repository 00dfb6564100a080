//! What vendors write, made safe for logs, terminals and clients.

/// More of an error text helps nobody.
const MAX_CHARS: usize = 400;
const MIN_KEY_BYTES: usize = 8;

/// Takes a vendor's text into a message: without the key that it may echo, without characters that
/// command a terminal, and not too long.
#[derive(Clone, Default)]
pub(crate) struct TextCleaner {
    key: Option<String>,
}

impl TextCleaner {
    pub(crate) fn new(key: Option<&str>) -> Self {
        // A short key is a placeholder, and may be a word of the text.
        let key = key.filter(|key| key.len() >= MIN_KEY_BYTES);
        Self {
            key: key.map(str::to_owned),
        }
    }

    pub(crate) fn clean(&self, text: &str) -> String {
        let without_key = match &self.key {
            Some(key) => text.replace(key, "[key]"),
            None => text.to_owned(),
        };
        let mut clean = String::new();
        for (count, character) in without_key.trim().chars().enumerate() {
            if count == MAX_CHARS {
                clean.push('…');
                break;
            }
            match character {
                '\n' | '\t' => clean.push(' '),
                character if is_harmless(character) => clean.push(character),
                character => clean.extend(character.escape_unicode()),
            }
        }
        clean
    }
}

/// Not a control character, nor one that changes the direction or the look of others.
fn is_harmless(character: char) -> bool {
    !character.is_control()
        && !matches!(
            character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}
