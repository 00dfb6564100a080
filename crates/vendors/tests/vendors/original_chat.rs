//! Clients' requests.

use farthing_vendors::OriginalChat;
use serde_json::{Value, json};

use crate::setup::chat;

#[test]
fn what_every_dialect_needs_is_checked() {
    let messages = json!([{"role": "user", "content": "x"}]);
    let valid = json!({"model": "m", "messages": messages});
    let with = |name: &str, value: Value| {
        let mut body = valid.as_object().unwrap().clone();
        body.insert(name.to_owned(), value);
        body
    };
    for (name, value) in [
        ("model", json!(5)),
        ("messages", json!([])),
        ("messages", json!("hi")),
        ("messages", json!(["hi"])),
        ("stream", json!("yes")),
        ("n", json!(0)),
        ("n", json!(129)),
        ("n", json!(1.5)),
        ("max_tokens", json!(0)),
        ("max_completion_tokens", json!(-1)),
    ] {
        let error = OriginalChat::new(with(name, value)).unwrap_err();
        assert_eq!(error.parameter, name);
        assert!(
            error.to_string().starts_with(&format!("`{name}` must be ")),
            "{error}"
        );
    }
    for name in [
        "stream",
        "n",
        "max_tokens",
        "max_completion_tokens",
        "tools",
    ] {
        let null = OriginalChat::new(with(name, Value::Null)).unwrap();
        assert_eq!(
            (null.choices(), null.max_tokens(), null.is_streamed()),
            (1, None, false)
        );
        assert!(null.parameter(name).is_none() && !null.has_tools());
    }
}

#[test]
fn a_request_is_described_for_routes() {
    let original = chat(json!({
        "model": "route", "stream": true, "n": 3, "max_tokens": 9, "max_completion_tokens": 7,
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "messages": [
            {"role": "system", "content": "1234"},
            {"role": "user", "content": [{"type": "text", "text": "éé"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "a", "type": "function", "function": {"name": "ab", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "a", "content": "12"}
        ]
    }));
    assert_eq!(original.model(), "route");
    assert!(original.is_streamed() && original.has_tools());
    assert_eq!((original.choices(), original.max_tokens()), (3, Some(7)));
    // 4 of the system, 4 of the user, 2 and 2 of the call, 2 of its result.
    assert_eq!(original.text_bytes(), 14);
}
