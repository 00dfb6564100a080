use serde_json::{Value, json};

use super::{Backend, Target, TargetError};

#[test]
fn the_version_may_stand_in_the_address_or_not() {
    for base in [
        "http://h:1",
        "http://h:1/",
        "http://h:1/v1",
        "http://h:1/v1/",
    ] {
        let target = Target::new(base, Backend::Chat, None).unwrap();
        assert_eq!(target.endpoint(), "http://h:1/v1/chat/completions");
    }
    let target = Target::new("https://h/api/v1", Backend::Completions, None).unwrap();
    assert_eq!(target.endpoint(), "https://h/api/v1/completions");
    let target = Target::new("http://h", Backend::Chat, Some("other/chat")).unwrap();
    assert_eq!(target.endpoint(), "http://h/other/chat");
}

#[test]
fn what_is_no_address_is_refused() {
    for base in [
        "",
        "127.0.0.1:8000",
        "localhost",
        "ftp://h",
        "http://",
        "http://h?x=1",
        "ht tp://h",
    ] {
        let refused = Target::new(base, Backend::Chat, None);
        assert_eq!(
            refused,
            Err(TargetError::NotAnAddress(base.to_owned())),
            "{base}"
        );
    }
    assert!(Target::new("http://h", Backend::Chat, Some("a b")).is_err());
    let with_password = Target::new("http://me:secret@h", Backend::Chat, None);
    assert_eq!(with_password, Err(TargetError::HasCredentials));
}

#[test]
fn a_body_has_what_was_asked_for() {
    let mut target = Target::new("http://h", Backend::Chat, None).unwrap();
    let body: Value = serde_json::from_slice(&target.body("m", "hi", 7, true)).unwrap();
    assert_eq!(
        body,
        json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 7,
            "stream": true, "stream_options": {"include_usage": true}})
    );
    target.backend = Backend::Completions;
    target.ignore_eos = true;
    target.temperature = Some(0.0);
    target.extra_body.insert("min_tokens".to_owned(), json!(7));
    let body: Value = serde_json::from_slice(&target.body("m", "hi", 7, false)).unwrap();
    assert_eq!(
        body,
        json!({"model": "m", "prompt": "hi", "max_tokens": 7, "temperature": 0.0,
            "ignore_eos": true, "min_tokens": 7})
    );
}
