//! Texts that PostgreSQL can store.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};

/// An entry of an index has at most 2,704 bytes. A row that does not fit would block all later rows,
/// so texts that callers choose are shortened.
pub(super) const MAX_NAME_BYTES: usize = 350;
pub(super) const MAX_USER_BYTES: usize = 1100;

/// `text` without NUL characters, which PostgreSQL cannot store. If it is longer than `max_bytes`, its
/// end is replaced by a hash of the whole, so that different texts stay different.
pub(super) fn bounded(text: &str, max_bytes: usize) -> Cow<'_, str> {
    let text = storable(text);
    if text.len() <= max_bytes {
        return text;
    }
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let hash = format!("…{:016x}", hasher.finish());
    let kept = text.floor_char_boundary(max_bytes - hash.len());
    format!("{}{hash}", &text[..kept]).into()
}

/// PostgreSQL cannot store NUL characters. A row with one would block all later rows.
pub(super) fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        text.replace('\0', "\u{FFFD}").into()
    } else {
        text.into()
    }
}
