//! Splits Rust into code, comments, strings and characters.

/// What a piece of a Rust file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Code,
    Comment,
    /// A string literal with its quotes.
    Text,
    Character,
}

/// The pieces of `text`, in order. Code comes in pieces of one character.
pub(super) fn pieces(text: &str) -> Vec<(Kind, &str)> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let (before, rest) = text.split_at(at);
        let (kind, len) = comment(rest)
            .map(|len| (Kind::Comment, len))
            .or_else(|| Some((Kind::Text, string(rest, before)?)))
            .or_else(|| Some((Kind::Character, character(rest)?)))
            .unwrap_or((Kind::Code, first.len_utf8()));
        pieces.push((kind, &rest[..len]));
        at += len;
    }
    pieces
}

/// Replaces comments, strings and characters by spaces, and keeps line breaks.
pub(super) fn blank(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    for (kind, piece) in pieces(text) {
        if kind == Kind::Code {
            code.push_str(piece);
        } else {
            code.extend(piece.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        }
    }
    code
}

/// The length of the comment that `rest` starts with.
fn comment(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if !rest.starts_with("/*") {
        return None;
    }
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return Some(at);
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    Some(rest.len())
}

/// The length of the string that `rest` starts with, including `r` and `#`. `before` is the
/// preceding text: an `r` there may end a name and not start a raw string.
fn string(rest: &str, before: &str) -> Option<usize> {
    if let Some(inside) = rest.strip_prefix('"') {
        let mut escaped = false;
        let end = inside.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        return Some(end.map_or(rest.len(), |end| end + 2));
    }
    let in_name = before
        .strip_suffix(['b', 'c'])
        .unwrap_or(before)
        .ends_with(|c: char| c.is_alphanumeric() || c == '_');
    let after_r = rest.strip_prefix('r').filter(|_| !in_name)?;
    let inside = after_r.trim_start_matches('#');
    let hashes = &after_r[..after_r.len() - inside.len()];
    let end = inside.strip_prefix('"')?.find(&format!("\"{hashes}"));
    Some(end.map_or(rest.len(), |end| {
        1 + hashes.len() + 1 + end + 1 + hashes.len()
    }))
}

/// The length of the character literal that `rest` starts with. A lifetime is not one.
fn character(rest: &str) -> Option<usize> {
    let inside = rest.strip_prefix('\'')?;
    let mut chars = inside.char_indices();
    if chars.next()?.1 == '\\' {
        chars.next()?;
        return Some(chars.find(|&(_, c)| c == '\'')?.0 + 2);
    }
    let (end, quote) = chars.next()?;
    (quote == '\'').then_some(end + 2)
}

#[cfg(test)]
mod tests;
