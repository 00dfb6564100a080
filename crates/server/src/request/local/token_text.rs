//! Tokens as text, where a token may be a part of a character, and two tokens may have one text.

use std::fmt::Write;

use farthing_scheduler::TokenLogprob;

/// The text of a token as OpenAI's chats show it: bytes that are no character are written `\xe2\x80`.
pub(super) fn in_chat(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// The text as OpenAI's completions show it, with `bytes:` before one that is not all characters.
pub(super) fn in_completion(bytes: &[u8]) -> String {
    match str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("bytes:{}", in_chat(bytes)),
    }
}

/// The names of some tokens, no two of which are the same: they become keys of an object. `chosen` has
/// its text, as in the list of tokens; another token with a text that is taken is told by its id, as
/// vLLM does.
pub(super) fn names(
    top: &[TokenLogprob],
    chosen: TokenLogprob,
    text: impl Fn(u32) -> String,
) -> Vec<(String, f32)> {
    let is_chosen = |token: &TokenLogprob| token.token == chosen.token;
    let missing = (!top.iter().any(is_chosen)).then_some(&chosen);
    let chosen_text = text(chosen.token);
    let mut names: Vec<(String, f32)> = Vec::with_capacity(top.len() + 1);
    for token in top.iter().chain(missing) {
        let text = text(token.token);
        let is_taken = !is_chosen(token)
            && (text == chosen_text || names.iter().any(|(name, _)| *name == text));
        let name = match is_taken {
            true => format!("token_id:{}", token.token),
            false => text,
        };
        names.push((name, token.logprob));
    }
    names
}

#[cfg(test)]
mod tests;
