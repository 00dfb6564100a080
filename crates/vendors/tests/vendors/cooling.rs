//! Vendors that are not well are left alone.

use farthing_vendors::{BreakerState, RetryPolicy, VendorError};
use serde_json::json;

use crate::fake_vendor::{FakeVendor, Play};
use crate::openai::{delta, end, events};
use crate::setup::{ask, call, openai, outcome, question, until, vendor};

const LIMITED: &str = r#"{"error": {"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded"}}"#;

#[tokio::test]
async fn a_vendor_that_asks_for_time_gets_it() {
    let fake = FakeVendor::start(|_| Play::error(429, LIMITED).header("retry-after", "100")).await;
    let vendor = openai(&fake);
    let first = outcome(ask(&vendor)).await;
    let error = first.error.as_ref().unwrap();
    assert_eq!(error.retry_after().unwrap().as_secs(), 100);
    assert_eq!((error.status(), error.may_retry()), (Some(429), true));
    assert_eq!(first.usd(), "0", "an error status is not billed");
    let second = outcome(ask(&vendor)).await.error.unwrap();
    assert!(
        matches!(second, VendorError::CoolingDown { .. }),
        "{second:?}"
    );
    let left = second.retry_after().unwrap().as_secs_f64();
    assert!((0.0..=100.0).contains(&left));
    assert_eq!(fake.seen().len(), 1, "nothing more is sent");
    let figures = vendor.figures();
    assert!(matches!(figures.breaker, BreakerState::Open { .. }));
    assert_eq!(
        (figures.attempts["status"], figures.attempts["cooling_down"]),
        (1, 1)
    );
}

#[tokio::test]
async fn what_is_not_sent_ends_no_pause() {
    let fake = FakeVendor::start(|_| Play::error(429, LIMITED).header("retry-after-ms", "1")).await;
    let cap = "price_list = \"openai\"\nusd_per_day = \"5\"\nmax_output_tokens = { gpt-4o = 9 }";
    let vendor = vendor(&fake, "openai", cap);
    outcome(ask(&vendor)).await;
    until(&vendor, |figures| figures.breaker == BreakerState::HalfOpen).await;
    let unknown = outcome(vendor.chat(call(question(), "gpt-unheard-of"))).await;
    assert_eq!(unknown.error.unwrap().kind(), "cost_unknown");
    assert_eq!(vendor.figures().breaker, BreakerState::HalfOpen);
    // The next one finds out.
    assert_eq!(
        outcome(ask(&vendor)).await.error.unwrap().status(),
        Some(429)
    );
    assert_eq!(fake.seen().len(), 2);
}

#[tokio::test]
async fn days_are_cut_to_minutes() {
    let fake =
        FakeVendor::start(|_| Play::error(429, LIMITED).header("retry-after", "561600")).await;
    let vendor = openai(&fake);
    outcome(ask(&vendor)).await;
    let BreakerState::Open { retry_after } = vendor.figures().breaker else {
        panic!()
    };
    assert!(retry_after.as_secs() <= 300);
}

#[tokio::test]
async fn failures_in_a_row_pause_the_vendor_and_wrong_requests_do_not() {
    let wrong = r#"{"error": {"message": "Bad", "type": "invalid_request_error"}}"#;
    let error_in_stream = events(&[
        delta(json!({"role": "assistant"})),
        json!({"error": {"message": "boom"}}),
    ]);
    let plays = [
        (Play::error(400, wrong), false),
        (Play::error(401, wrong), false),
        (Play::stream(format!("data: {wrong}\n\n")), false),
        (Play::error(500, "{}"), true),
        (Play::stream(error_in_stream), true),
        (Play::stream("data: [DONE]\n\n"), true),
    ];
    for (play, pauses) in plays {
        let fake = FakeVendor::start(move |_| play.clone()).await;
        let vendor = openai(&fake);
        for _ in 0..5 {
            assert_eq!(vendor.figures().breaker, BreakerState::Closed);
            outcome(ask(&vendor)).await;
        }
        let is_open = matches!(vendor.figures().breaker, BreakerState::Open { .. });
        assert_eq!(is_open, pauses);
    }
}

#[tokio::test]
async fn a_good_answer_forgives() {
    let good = events(&[delta(json!({"content": "x"})), end("stop")]);
    let fake = FakeVendor::start(
        move |seen| match seen.body["messages"][0]["content"] == "fail" {
            true => Play::error(500, "{}"),
            false => Play::stream(good.clone()),
        },
    )
    .await;
    let vendor = openai(&fake);
    let failing = || {
        let body = json!({"model": "r", "messages": [{"role": "user", "content": "fail"}]});
        crate::setup::call(crate::setup::chat(body), "gpt-4o")
    };
    for _ in 0..3 {
        for _ in 0..4 {
            assert!(outcome(vendor.chat(failing())).await.error.is_some());
        }
        assert_eq!(outcome(ask(&vendor)).await.error, None);
    }
    assert_eq!(vendor.figures().breaker, BreakerState::Closed);
}

#[tokio::test]
async fn the_vendors_word_on_retries_counts() {
    let overloaded = Play::error(503, "{}").header("x-should-retry", "false");
    let conflict = Play::error(422, "{}").header("x-should-retry", "true");
    let quota = Play::error(
        400,
        r#"{"error": {"message": "This model's maximum context length is 8192 tokens", "code": "context_length_exceeded"}}"#,
    );
    for (play, retries, too_long) in [
        (overloaded, false, false),
        (conflict, true, false),
        (quota, false, true),
    ] {
        let fake = FakeVendor::start(move |_| play.clone()).await;
        let error = outcome(ask(&openai(&fake))).await.error.unwrap();
        assert_eq!(
            (error.may_retry(), error.is_context_too_long()),
            (retries, too_long)
        );
    }
}

#[tokio::test]
async fn places_are_limited() {
    let fake =
        FakeVendor::start(|_| Play::stream("").ending(crate::fake_vendor::Ending::Hang)).await;
    let vendor = vendor(&fake, "openai", "max_concurrent = 2");
    let mut running = [ask(&vendor), ask(&vendor)];
    for (sent, answer) in running.iter_mut().enumerate() {
        tokio::select! {
            _ = futures_util::StreamExt::next(&mut answer.events) => panic!(),
            () = fake.until(|fake| fake.seen().len() == sent + 1) => {}
        }
    }
    let third = outcome(ask(&vendor)).await.error.unwrap();
    assert_eq!(third, VendorError::Busy { max_concurrent: 2 });
    drop(running);
    assert_eq!(vendor.figures().in_flight, 0);
}

fn limited_for(seconds: u64) -> VendorError {
    VendorError::CoolingDown {
        retry_after: std::time::Duration::from_secs(seconds),
    }
}

#[test]
fn delays_grow_with_the_attempts_and_have_a_limit() {
    let policy = RetryPolicy {
        max_attempts: 10,
        first_delay_seconds: 1.0,
        max_delay_seconds: 6.0,
    };
    let delay = |attempt, jitter| policy.delay(attempt, &VendorError::Truncated, jitter);
    let seconds = |attempt, jitter| delay(attempt, jitter).unwrap().as_secs_f64();
    assert_eq!(
        [1, 2, 3, 4, 9].map(|attempt| seconds(attempt, 1.0)),
        [1.0, 2.0, 4.0, 6.0, 6.0]
    );
    assert_eq!(seconds(3, 0.0), 2.0);
    assert_eq!(delay(10, 0.0), None, "there were ten attempts");
    assert_eq!(policy.delay(1, &VendorError::SpendCapReached, 0.0), None);
}

#[test]
fn nobody_returns_before_the_vendor_asked_and_not_all_together() {
    let policy = RetryPolicy::default();
    let delays = (0..30).map(|client| {
        let delay = policy.delay(1, &limited_for(10), f64::from(client) / 30.0);
        delay.unwrap().as_secs_f64()
    });
    let delays: Vec<_> = delays.collect();
    assert!(
        delays.iter().all(|delay| (10.0..=15.0).contains(delay)),
        "{delays:?}"
    );
    assert!(
        delays.windows(2).all(|pair| pair[1] - pair[0] > 0.1),
        "{delays:?}"
    );
    assert_eq!(
        policy.delay(1, &limited_for(31), 0.0),
        None,
        "it asks for too much"
    );
}
