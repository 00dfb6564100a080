use super::blank;

#[test]
fn comments_go() {
    assert_eq!(blank("a // b\nc"), "a     \nc");
    assert_eq!(
        blank("a /* b /* c */ \n d */ e"),
        "a              \n      e"
    );
    assert_eq!(blank("/// doc"), "       ");
}

#[test]
fn strings_go_and_do_not_hide_what_follows() {
    assert_eq!(blank(r#"f("a\"b", c)"#), r#"f(      , c)"#);
    assert_eq!(blank("f(r\"a\\\", c)"), "f(     , c)");
    assert_eq!(blank("f(r#\"a\"b\"#, c)"), "f(        , c)");
    assert_eq!(blank("f(\"// no comment\") + g"), "f(               ) + g");
    assert_eq!(blank("f(\"a\\\\\") + g"), "f(     ) + g");
}

#[test]
fn characters_go_and_lifetimes_stay() {
    assert_eq!(blank("x == '\"' && y"), "x ==     && y");
    assert_eq!(blank(r"x == '\'' && y"), "x ==      && y");
    assert_eq!(blank(r"x == '\u{7f}' && y"), "x ==          && y");
    assert_eq!(
        blank("fn f<'a>(x: &'a str) -> &'a str"),
        "fn f<'a>(x: &'a str) -> &'a str"
    );
}

#[test]
fn a_name_that_ends_in_r_is_no_raw_string() {
    assert_eq!(blank("for r#loop in number"), "for r#loop in number");
    assert_eq!(blank("concat_r\"x\""), "concat_r   ");
}

#[test]
fn lines_stay_where_they_are() {
    let text = "a\n\"b\nc\"\n/* d\n*/\ne";
    assert_eq!(blank(text).lines().count(), text.lines().count());
    assert!(blank(text).ends_with("\ne"));
}

#[test]
fn letters_of_any_width_pass() {
    assert_eq!(blank("/* é\u{1F600} */ 'é' \"ß\" ñ").trim_start(), "ñ");
}
