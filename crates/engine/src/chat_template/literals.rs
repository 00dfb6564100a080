//! What Jinja2 does to a source before it parses it: line ends, and escapes in strings.

use minijinja::machinery::{Token, tokenize};
use minijinja::syntax::SyntaxConfig;

/// Line ends as Jinja2 reads them: all become `\n`.
pub(super) fn with_line_feeds(source: &str) -> String {
    source.replace("\r\n", "\n").replace('\r', "\n")
}

/// The source with escapes that minijinja reads as Python does. Python has more of them, and keeps the
/// backslash of `\/`.
///
/// # Errors
/// A string has an escape that Python refuses, or one by name.
pub(super) fn with_plain_escapes(source: &str, syntax: &SyntaxConfig) -> Result<String, String> {
    let mut plain = String::with_capacity(source.len());
    let mut from = 0;
    // After an error there may be more of them without end. The parser reports it.
    for (token, span) in tokenize(source, false, syntax.clone()).map_while(Result::ok) {
        if !matches!(token, Token::String(_) | Token::Str(_)) {
            continue;
        }
        let (start, end) = (span.start_offset as usize, span.end_offset as usize);
        let Some(literal) = source.get(start..end).filter(|it| it.contains('\\')) else {
            continue;
        };
        plain.push_str(&source[from..start]);
        rewrite(literal, &mut plain)?;
        from = end;
    }
    plain.push_str(&source[from..]);
    Ok(plain)
}

/// Python's `unicode-escape` of a literal with its quotes.
fn rewrite(literal: &str, plain: &mut String) -> Result<(), String> {
    let mut characters = literal.chars().peekable();
    let refuse = || Err(format!("the string {literal} has an invalid escape"));
    while let Some(character) = characters.next() {
        if character != '\\' {
            plain.push(character);
            continue;
        }
        let Some(kind) = characters.next() else {
            return refuse();
        };
        let mut digits = |count: usize, radix: u32| -> Option<u32> {
            let mut code = 0;
            for _ in 0..count {
                code = code * radix + characters.next()?.to_digit(radix)?;
            }
            Some(code)
        };
        let code = match kind {
            '\n' => continue,
            'a' => Some(7),
            'b' => Some(8),
            't' => Some(9),
            'n' => Some(10),
            'v' => Some(11),
            'f' => Some(12),
            'r' => Some(13),
            '\\' | '\'' | '"' => Some(u32::from(kind)),
            'x' => digits(2, 16),
            'u' => digits(4, 16),
            'U' => digits(8, 16),
            'N' => return Err(format!("the string {literal} has a character by its name")),
            '0'..='7' => {
                let mut code = kind.to_digit(8).unwrap_or(0);
                for _ in 0..2 {
                    let Some(digit) = characters.peek().and_then(|it| it.to_digit(8)) else {
                        break;
                    };
                    code = code * 8 + digit;
                    characters.next();
                }
                Some(code)
            }
            other => {
                plain.push_str("\\\\");
                plain.push(other);
                continue;
            }
        };
        match code {
            // Halves of a surrogate pair, which minijinja puts together and Python does not print.
            Some(code @ 0xd800..0xe000) => plain.push_str(&format!("\\u{code:04x}")),
            Some(code) => match char::from_u32(code) {
                Some(character @ (' '..='~')) if !"\\'\"".contains(character) => {
                    plain.push(character);
                }
                Some(character) => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        plain.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                None => return refuse(),
            },
            None => return refuse(),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
