//! Python's ways of splitting a string.

use super::text::is_space;

/// `str.split`. `max` is the number of splits, if limited.
pub(super) fn split<'t>(
    text: &'t str,
    separator: Option<&str>,
    max: Option<usize>,
) -> Vec<&'t str> {
    let max = max.unwrap_or(usize::MAX);
    let Some(separator) = separator else {
        return by_space(text, max);
    };
    text.splitn(max.saturating_add(1), separator).collect()
}

/// `str.rsplit`.
pub(super) fn rsplit<'t>(
    text: &'t str,
    separator: Option<&str>,
    max: Option<usize>,
) -> Vec<&'t str> {
    let max = max.unwrap_or(usize::MAX);
    let mut parts: Vec<&str> = match separator {
        Some(separator) => text.rsplitn(max.saturating_add(1), separator).collect(),
        None => by_space_from_right(text, max),
    };
    parts.reverse();
    parts
}

fn by_space(text: &str, max: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    while !rest.is_empty() {
        if parts.len() == max {
            // What is left keeps the whitespace at its end.
            parts.push(rest);
            break;
        }
        let end = rest.find(is_space).unwrap_or(rest.len());
        parts.push(&rest[..end]);
        rest = rest[end..].trim_start_matches(is_space);
    }
    parts
}

/// The parts from right to left.
fn by_space_from_right(text: &str, max: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim_end_matches(is_space);
    while !rest.is_empty() {
        if parts.len() == max {
            parts.push(rest);
            break;
        }
        let kept = rest.trim_end_matches(|character| !is_space(character));
        parts.push(&rest[kept.len()..]);
        rest = kept.trim_end_matches(is_space);
    }
    parts
}

/// `str.splitlines`, at all the line ends that Python knows.
pub(super) fn lines(text: &str, keeps_ends: bool) -> Vec<&str> {
    const ENDS: [char; 10] = [
        '\n', '\r', '\x0b', '\x0c', '\x1c', '\x1d', '\x1e', '\u{85}', '\u{2028}', '\u{2029}',
    ];
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(ENDS).unwrap_or(rest.len());
        let after = &rest[end..];
        let end_bytes = match after.strip_prefix("\r\n") {
            Some(_) => 2,
            None => after.chars().next().map_or(0, char::len_utf8),
        };
        lines.push(&rest[..if keeps_ends { end + end_bytes } else { end }]);
        rest = &after[end_bytes..];
    }
    lines
}

/// `str.partition` and `rpartition`: before, separator, after.
pub(super) fn partition<'t>(text: &'t str, separator: &'t str, from_right: bool) -> [&'t str; 3] {
    let found = if from_right {
        text.rsplit_once(separator)
    } else {
        text.split_once(separator)
    };
    match found {
        Some((before, after)) => [before, separator, after],
        None if from_right => ["", "", text],
        None => [text, "", ""],
    }
}
