use super::*;

#[test]
fn origins_are_written_as_browsers_send_them() {
    for (text, sent) in [
        ("https://app.example.com", "https://app.example.com"),
        ("HTTP://LocalHost:3000", "http://localhost:3000"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("tauri://localhost", "tauri://localhost"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
    ] {
        let origin: CorsOrigin = text.parse().unwrap();
        assert_eq!(origin, CorsOrigin::One(HeaderValue::from_static(sent)));
    }
    assert_eq!("*".parse(), Ok(CorsOrigin::Any));
}

#[test]
fn what_no_browser_sends_is_refused() {
    for text in [
        "",
        "null",
        "app.example.com",
        "https://app.example.com/",
        "https://app.example.com/chat",
        "https://app.example.com?x",
        "https://*.example.com/",
        "https://me@example.com",
        "https://",
        "a b",
    ] {
        assert!(text.parse::<CorsOrigin>().is_err(), "{text}");
    }
}
