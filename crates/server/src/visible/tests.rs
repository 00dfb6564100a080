use super::{visible, visible_json};

#[test]
fn a_terminal_obeys_no_text() {
    assert_eq!(visible("Zoë-1 漢字 \u{1f600}"), "Zoë-1 漢字 \u{1f600}");
    assert_eq!(visible("\u{1b}[31mred\u{7}"), "\\u{1b}[31mred\\u{7}");
    assert_eq!(visible("\u{9b}2J"), "\\u{9b}2J");
    assert_eq!(visible("a\r\nb\tc"), "a\\u{d}\\u{a}b\\u{9}c");
    assert_eq!(visible("\u{202e}evil"), "\\u{202e}evil");
}

#[test]
fn json_stays_the_same_value() {
    let value = serde_json::json!({"user": "\u{1b}[31m\u{9b}2J\u{202e}\u{7f}\nx", "\u{85}": 1});
    let text = visible_json(&format!("{value:#}"));
    assert!(
        text.chars().all(|c| c == '\n' || !c.is_control()),
        "{text:?}"
    );
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&text).unwrap(),
        value
    );
}
