//! The report as text and as HTML.

use serde_json::json;

use crate::book::{Attempt, Book, spec};

const HOSTILE: &str = "<script>alert('x')</script>\u{1b}[2J\u{202e}";

fn hostile() -> farthing_gateway::Report {
    let mut book = Book::new(Some("3.6"));
    for user in 0..120 {
        let mut row = Attempt::vendor("0.01");
        row.served = HOSTILE;
        let arm = ["gpt", "ours@<b>"][user % 2];
        let (unit, id) = (format!("{HOSTILE}{user}"), format!("r{user}"));
        book.request(arm, &unit, &id, 60, &[row]);
        book.rate(&id, "feedback", f64::from(u8::from(user % 3 > 0)));
    }
    book.report(&spec(json!({"id": "exp-1"})))
}

#[test]
fn a_terminal_gets_lines_of_a_hundred_columns_without_commands() {
    let text = hostile().to_text();
    for line in text.lines() {
        assert!(line.chars().count() <= 100, "{line}");
        assert_eq!(line, line.trim_end());
    }
    assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'));
    for part in [
        "Verdict: not yet",
        "Arm gpt",
        "Arm ours@<b>",
        "hold at any number of looks",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn a_page_loads_nothing_and_runs_nothing() {
    let html = hostile().to_html();
    for outside in [
        "<script", "http://", "https://", "<link", "<img", "url(", "@import", "<b>",
    ] {
        assert!(!html.contains(outside), "{outside} is in the page");
    }
    assert!(html.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"));
    assert!(html.starts_with("<!doctype html>"));
    for part in [
        "prefers-color-scheme: dark",
        "lang=\"en\"",
        "scope=\"row\"",
        "name=\"viewport\"",
    ] {
        assert!(html.contains(part), "{part} is missing");
    }
    // Each picture has a text that says the same.
    let pictures = html.matches("<svg").count();
    assert!(pictures > 0);
    assert_eq!(html.matches("role=\"img\" aria-label=\"").count(), pictures);
    for tag in [
        "table", "thead", "tbody", "tr", "th", "td", "section", "main", "svg",
    ] {
        let opened =
            html.matches(&format!("<{tag}>")).count() + html.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, html.matches(&format!("</{tag}>")).count(), "{tag}");
    }
}
