//! Names of models as responses and other tools write them.

/// Prefixes that say whose model it is, and the vendor's name here.
const PREFIXES: [(&str, &str); 4] = [
    ("models/", "google"),
    ("publishers/google/models/", "google"),
    ("gemini/", "google"),
    ("mistralai/", "mistral"),
];
/// Dated models with a price of their own.
const OWN_PRICE: [&str; 1] = ["gpt-4o-2024-05-13"];

/// The name of a model, and the names of the same model at the same price, the most exact first: without a
/// date, or with the vendor that the name says.
pub fn model_spellings(name: &str) -> Vec<String> {
    let mut names = vec![name.to_owned()];
    for (prefix, vendor) in PREFIXES {
        if let Some(model) = name.strip_prefix(prefix) {
            names.push(format!("{vendor}/{model}"));
        }
    }
    let undated: Vec<String> = names.iter().filter_map(|name| undated(name)).collect();
    names.extend(undated);
    names
}

/// `gpt-4o-2024-08-06`, `claude-sonnet-4-5-20250929`, `claude-sonnet-4-5@20250929` or
/// `gemini-2.5-flash-001` without the end.
fn undated(name: &str) -> Option<String> {
    let model = name.rsplit('/').next().unwrap_or(name);
    if OWN_PRICE.contains(&model) {
        return None;
    }
    let digits = |text: &str, count: usize| {
        text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let is_day = |text: &str| match text.len() {
        8 => digits(text, 8) && text.starts_with("20"),
        10 => {
            let parts: Vec<&str> = text.split('-').collect();
            matches!(parts.as_slice(), [year, month, day]
                if digits(year, 4) && digits(month, 2) && digits(day, 2))
        }
        _ => false,
    };
    for length in [11, 9] {
        let at = name.len().checked_sub(length)?;
        let (head, tail) = name.split_at_checked(at)?;
        if tail.starts_with(['-', '@']) && is_day(&tail[1..]) {
            return Some(head.to_owned());
        }
    }
    let (head, version) = name.rsplit_once('-')?;
    let is_google = head.contains("gemini-");
    (is_google && digits(version, 3)).then(|| head.to_owned())
}
