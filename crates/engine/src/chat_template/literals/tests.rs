use minijinja::Environment;
use minijinja::syntax::SyntaxConfig;

use super::{with_line_feeds, with_plain_escapes};

fn plain(source: &str) -> Result<String, String> {
    with_plain_escapes(source, &SyntaxConfig::default())
}

/// What a string literal means, by Python 3.14's `encode("ascii", "backslashreplace").decode(
/// "unicode-escape")`, as Jinja2 reads it.
#[test]
fn escapes_mean_what_they_mean_in_python() {
    for (literal, meaning) in [
        (r"'\/'", "\\/"),
        (r"'\v\a\b\f'", "\u{b}\u{7}\u{8}\u{c}"),
        (r"'\x41\u00e9\U0001F600'", "Aé😀"),
        (r"'\0\12\1012'", "\0\nA2"),
        (r"'\d\\n\''", "\\d\\n'"),
        ("'a\\\nb'", "ab"),
        (r"'é\té'", "é\té"),
        (r#""\"""#, "\""),
    ] {
        let source = plain(&format!("{{{{ {literal} }}}}")).unwrap();
        let found = Environment::new().render_str(&source, ());
        assert_eq!(found.unwrap(), meaning, "{literal}");
    }
    // The parser refuses the first two, at which the search ends.
    for wrong in [r"'\x4'", r"'\u12'", r"'\U00110000'", r"'\N{BULLET}'"] {
        let rendered = plain(&format!("{{{{ {wrong} }}}}")).and_then(|source| {
            Environment::new()
                .render_str(&source, ())
                .map_err(|e| e.to_string())
        });
        assert!(rendered.is_err(), "{wrong}");
    }
}

#[test]
fn only_strings_are_rewritten() {
    for source in [
        r"\v {{ x }} \/",
        r"{# '\v' #}",
        r"{% raw %}{{ '\v' }}{% endraw %}",
        "{{ 'a' }}",
    ] {
        assert_eq!(plain(source).as_deref(), Ok(source));
    }
    assert_eq!(with_line_feeds("a\r\nb\rc\n\r"), "a\nb\nc\n\n");
}
