//! Texts that a spreadsheet would execute.

use super::{BOUNDARIES, escaped};

#[test]
fn formulas_are_texts() {
    for (text, expected) in [
        ("", ""),
        ("ann", "ann"),
        ("ann-marie+1@example.org", "ann-marie+1@example.org"),
        (
            "=HYPERLINK(\"http://evil\")",
            "'=HYPERLINK(\"http://evil\")",
        ),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t'=1"),
        ("\r=1", "'\r'=1"),
        ("\n\n=1", "'\n'\n'=1"),
        ("＝1", "'＝1"),
        ("a;=1", "a;'=1"),
        ("a\"=1", "a\"'=1"),
        ("'quoted'", "''quoted'"),
    ] {
        assert_eq!(escaped(text), expected, "{text:?}");
    }
}

/// The rule of a reader.
fn unescaped(text: &str) -> String {
    let mut read = String::new();
    let mut is_start = true;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let character = if is_start && character == '\'' {
            characters.next().unwrap_or(character)
        } else {
            character
        };
        read.push(character);
        is_start = BOUNDARIES.contains(&character);
    }
    read
}

#[test]
fn escapes_can_be_removed() {
    let alphabet = ['=', '\'', ';', '\t', 'a'];
    let mut texts = vec![String::new()];
    for _ in 0..5 {
        let longer = texts.iter().flat_map(|text| {
            alphabet.map(|character| {
                let mut text = text.clone();
                text.push(character);
                text
            })
        });
        texts = longer.chain([String::new()]).collect();
        for text in &texts {
            assert_eq!(unescaped(&escaped(text)), *text);
        }
    }
}
