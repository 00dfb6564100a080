//! Removes `{% generation %}`. It marks the assistant's text for training and does not change a
//! prompt.

/// Replaces the tag by `{% with %} … {% endwith %}`, because minijinja has no custom tags. What is set
/// within stays within, and whitespace control is kept.
pub(super) fn remove(source: &str) -> String {
    let mut without = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(open) = rest.find("{%") {
        let (before, tag) = rest.split_at(open + 2);
        without.push_str(before);
        let Some(close) = tag.find("%}") else {
            rest = tag;
            break;
        };
        let inside = &tag[..close];
        match inside.trim_matches(['-', '+', ' ', '\t', '\n', '\r']) {
            "generation" => without.push_str(&inside.replace("generation", "with")),
            "endgeneration" => without.push_str(&inside.replace("endgeneration", "endwith")),
            _ => without.push_str(inside),
        }
        rest = &tag[close..];
    }
    without.push_str(rest);
    without
}
