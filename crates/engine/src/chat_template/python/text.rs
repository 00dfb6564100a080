//! Python's whitespace, stripping and letter case.

use minijinja::value::StringInput;
use minijinja::{Error, State, Value};

/// Python's `str.isspace`: Unicode's whitespace and the four separators of ASCII.
pub(super) fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\x1c'..='\x1f').contains(&character)
}

/// Where a strip takes away.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Both,
    Left,
    Right,
}

/// `str.strip`, `lstrip` and `rstrip`. Without `characters` it takes whitespace away.
pub(super) fn strip<'t>(text: &'t str, side: Side, characters: Option<&str>) -> &'t str {
    let is_stripped = |character: char| match characters {
        Some(characters) => characters.contains(character),
        None => is_space(character),
    };
    let mut stripped = text;
    if side != Side::Right {
        stripped = stripped.trim_start_matches(is_stripped);
    }
    if side != Side::Left {
        stripped = stripped.trim_end_matches(is_stripped);
    }
    stripped
}

/// `str.title`: each run of letters begins with a capital.
pub(super) fn title(state: &State<'_, '_>, text: &str) -> Result<String, Error> {
    let lower = text.to_lowercase();
    let mut title = String::with_capacity(text.len());
    let mut is_within = false;
    for (at, character) in text.char_indices() {
        let is_cased = is_cased(character);
        if !is_cased {
            title.push(character);
        } else if !is_within {
            let letter = Value::from(character.to_string());
            // In one letter this is its title case.
            let capital = minijinja::filters::capitalize(StringInput::new(state, &letter)?);
            title.push_str(capital.as_str().unwrap_or_default());
        } else if character == 'Σ' {
            // Its lower case depends on what surrounds it.
            let at = text[..at].to_lowercase().len();
            title.extend(lower.get(at..).and_then(|rest| rest.chars().next()));
        } else {
            title.extend(character.to_lowercase());
        }
        is_within = is_cased;
    }
    Ok(title)
}

/// `str.swapcase`.
pub(super) fn swapcase(text: &str) -> String {
    let mut swapped = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_uppercase() {
            swapped.extend(character.to_lowercase());
        } else {
            swapped.extend(character.to_uppercase());
        }
    }
    swapped
}

/// Whether it has an upper and a lower case, or is a capital within a letter, such as `ǅ`.
fn is_cased(character: char) -> bool {
    character.is_lowercase()
        || character.is_uppercase()
        || matches!(character, 'ǅ' | 'ǈ' | 'ǋ' | 'ǲ' | '\u{1f88}'..='\u{1f8f}' | '\u{1f98}'..='\u{1f9f}'
            | '\u{1fa8}'..='\u{1faf}' | '\u{1fbc}' | '\u{1fcc}' | '\u{1ffc}')
}
