//! `{% generation %}`: marks the assistant's words for training, and changes no prompt.

/// The same template with `{% if true %} … {% endif %}` in the tag's place, for minijinja has no
/// tags of its users' own. Whitespace control stays where it is.
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
            "generation" => without.push_str(&inside.replace("generation", "if true")),
            "endgeneration" => without.push_str(&inside.replace("endgeneration", "endif")),
            _ => without.push_str(inside),
        }
        rest = &tag[close..];
    }
    without.push_str(rest);
    without
}
