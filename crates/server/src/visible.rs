//! Callers' texts on a terminal.

use std::fmt::Write;

/// Replaces what a terminal would obey, or would show in another order, by its number: `\\u{1b}`.
pub(crate) fn visible(text: &str) -> String {
    text.chars()
        .flat_map(|character| {
            let is_hidden = is_hidden(character);
            let number = is_hidden.then(|| character.escape_unicode());
            let itself = (!is_hidden).then_some(character);
            number.into_iter().flatten().chain(itself)
        })
        .collect()
}

/// Like [`visible`] for a text of several lines.
pub(crate) fn visible_lines(text: &str) -> String {
    text.split('\n').map(visible).collect::<Vec<_>>().join("\n")
}

/// Like [`visible`] for JSON, where the numbers are written as JSON does.
pub(crate) fn visible_json(json: &str) -> String {
    let mut visible = String::with_capacity(json.len());
    for character in json.chars() {
        // Outside strings JSON has line breaks; inside they are escaped already.
        if character != '\n' && is_hidden(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(visible, "\\u{unit:04x}").expect("a string takes all that is written to it");
            }
        } else {
            visible.push(character);
        }
    }
    visible
}

fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            // Zero width, marks of direction, separators of lines and paragraphs.
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
                | '\u{61c}' | '\u{180e}'
        )
}

#[cfg(test)]
mod tests;
