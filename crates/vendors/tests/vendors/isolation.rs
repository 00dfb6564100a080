//! Keys and other people's texts stay where they belong.

use farthing_vendors::VendorError;
use serde_json::json;

use crate::fake_vendor::{FakeVendor, Play};
use crate::openai::{delta, end, events};
use crate::setup::{KEY, ask, call, configured, openai, outcome, question, vendor};

#[tokio::test]
async fn only_the_vendors_own_headers_are_sent() {
    let fake = FakeVendor::start(|_| Play::stream("data: [DONE]\n\n")).await;
    let more = "headers = { OpenAI-Project = \"proj_1\" }";
    outcome(ask(&vendor(&fake, "openai", more))).await;
    let seen = &fake.seen()[0];
    let mut names: Vec<_> = seen.headers.keys().map(String::as_str).collect();
    names.sort_unstable();
    let expected = [
        "accept",
        "authorization",
        "content-length",
        "content-type",
        "host",
        "openai-project",
        "user-agent",
        "x-client-request-id",
    ];
    assert_eq!(names, expected);
    assert_eq!(seen.headers["authorization"], format!("Bearer {KEY}"));
    assert_eq!(seen.headers["openai-project"], "proj_1");
}

#[tokio::test]
async fn the_key_is_in_one_header_and_nowhere_else() {
    let echo = json!({"error": {"message": format!("Incorrect API key provided: {KEY}"), "code": KEY, "type": KEY}});
    let named =
        events(&[delta(json!({"content": "x"})), end(KEY)]).replace("gpt-4o-2024-08-06", KEY);
    let garbage = format!("data: {{{KEY}\n\n");
    let plays = [
        Play::error(401, &echo.to_string()),
        Play::error(500, &format!("<html>{KEY}</html>")),
        Play::stream(format!("data: {echo}\n\n")),
        Play::stream(named),
        Play::stream(garbage),
        Play::stream("").header("x-request-id", KEY),
    ];
    for dialect in ["openai", "anthropic", "google"] {
        for play in &plays {
            let play = play.clone();
            let fake = FakeVendor::start(move |_| play.clone()).await;
            let vendor = vendor(&fake, dialect, "max_output_tokens = { gpt-4o = 5 }");
            let got = outcome(ask(&vendor)).await;
            let error = got.error.as_ref().unwrap();
            let all = format!(
                "{error} {error:?} {got:?} {vendor:?} {:?}",
                vendor.figures()
            );
            assert!(!all.contains(KEY), "{all}");
            let seen = &fake.seen()[0];
            let raw = String::from_utf8_lossy(&seen.raw);
            assert_eq!(raw.matches(KEY).count(), 1, "{raw}");
            assert!(!seen.target.contains(KEY));
        }
    }
}

#[tokio::test]
async fn a_second_vendor_gets_the_clients_request_and_its_own_key() {
    let first = FakeVendor::start(|_| Play::error(429, "{}")).await;
    // It knows its own fields only.
    let second = FakeVendor::start(|seen| {
        let fields = seen.body.as_object().unwrap().keys();
        let known = ["model", "max_tokens", "stream", "messages"];
        match { fields }.all(|field| known.contains(&field.as_str())) {
            true => Play::stream(crate::anthropic::TEXT),
            false => Play::error(400, "{}"),
        }
    })
    .await;
    let original = question();
    let before = original.body().clone();
    let at_first = openai(&first).chat(call(original.clone(), "gpt-4o"));
    assert_eq!(outcome(at_first).await.error.unwrap().status(), Some(429));
    let table = format!(
        "dialect = \"anthropic\"\nbase_url = \"http://{}/v1\"\nmax_output_tokens = {{ m = 5 }}\n\
         headers = {{ anthropic-beta = \"a\" }}",
        second.address
    );
    let got = outcome(
        configured(&table)
            .unwrap()
            .chat(call(original.clone(), "m")),
    )
    .await;
    assert_eq!((got.error.as_ref(), got.text(0).as_str()), (None, "Hello!"));
    assert_eq!(*original.body(), before);
    let raw = String::from_utf8_lossy(&second.seen()[0].raw).into_owned();
    assert!(!raw.contains(KEY), "the first vendor's key stays there");
    assert_eq!(second.seen()[0].headers["anthropic-beta"], "a");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = FakeVendor::start(|_| Play::stream("data: [DONE]\n\n")).await;
    let place = format!("http://{}/v1/chat/completions", other.address);
    for status in [301, 302, 307, 308] {
        let place = place.clone();
        let fake =
            FakeVendor::start(move |_| Play::error(status, "{}").header("location", &place)).await;
        let error = outcome(ask(&openai(&fake))).await.error.unwrap();
        assert_eq!(error.status(), Some(status));
    }
    assert_eq!(other.seen().len(), 0);
}

#[tokio::test]
async fn a_vendors_text_is_short_and_commands_no_terminal() {
    let text = format!("\u{1b}[31mred\u{202e}\n{}", "x".repeat(10_000));
    let body = json!({"error": {"message": text, "code": "a\u{7}b"}}).to_string();
    let fake = FakeVendor::start(move |_| Play::error(500, &body)).await;
    let error = outcome(ask(&openai(&fake))).await.error.unwrap();
    let VendorError::Status { message, code, .. } = &error else {
        panic!("{error:?}")
    };
    assert!(
        message.starts_with("\\u{1b}[31mred\\u{202e} xxx"),
        "{message}"
    );
    assert!(message.chars().count() < 450);
    assert_eq!(code.as_deref(), Some("a\\u{7}b"));
}

#[tokio::test]
async fn an_event_without_an_end_is_not_collected() {
    let fake = FakeVendor::start(|_| Play::stream(format!("data: {}", "x".repeat(9 << 20)))).await;
    let error = outcome(ask(&openai(&fake))).await.error.unwrap();
    assert_eq!(error.kind(), "malformed");
    let many =
        "data: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n".repeat(140_000);
    let fake = FakeVendor::start(move |_| Play::stream(many.clone())).await;
    let error = outcome(ask(&openai(&fake))).await.error.unwrap();
    assert_eq!(error.kind(), "malformed");
}
