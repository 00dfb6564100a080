//! The cap of a day.

use std::sync::Arc;
use std::time::Duration;

use farthing_vendors::{Vendor, VendorError};
use futures_util::StreamExt;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::fake_vendor::{Ending, FakeVendor, Play};
use crate::openai::{delta, end, events, usage};
use crate::setup::{call, chat, outcome, question, until, vendor};

fn limited(max_tokens: u64) -> farthing_vendors::OriginalChat {
    let mut body = question().body().clone();
    body.insert("max_completion_tokens".to_owned(), json!(max_tokens));
    chat(Value::Object(body))
}

fn capped(fake: &FakeVendor, usd: &str) -> Vendor {
    vendor(
        fake,
        "openai",
        &format!("price_list = \"openai\"\nusd_per_day = \"{usd}\""),
    )
}

#[tokio::test]
async fn concurrency_cannot_overrun_the_cap() {
    let fake = FakeVendor::start(|_| Play::stream("").ending(Ending::Hang)).await;
    // The worst case of one call.
    let one = capped(&fake, "1000");
    let mut answer = one.chat(call(limited(100), "gpt-4o"));
    tokio::select! {
        event = answer.events.next() => panic!("{event:?}"),
        () = fake.until(|fake| fake.seen().len() == 1) => {}
    }
    let worst = one.figures().reserved_usd;
    // 100 × 10 dollars per million for the answer, and 2.5 for each byte of the prompt.
    let body = fake.seen()[0].body.to_string().len() as i64;
    let expected = Decimal::new(100 * 100 + 25 * (body + 1000), 7);
    assert_eq!(worst.normalize(), expected.normalize());
    drop(answer);

    let cap = worst * Decimal::from(5) + Decimal::new(1, 9);
    let vendor = Arc::new(capped(&fake, &cap.to_string()));
    let seen_before = fake.seen().len();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let vendor = vendor.clone();
        tasks.spawn(async move {
            outcome(vendor.chat(call(limited(100), "gpt-4o")))
                .await
                .error
        });
    }
    let refused =
        |error: Option<VendorError>| assert_eq!(error, Some(VendorError::SpendCapReached));
    for _ in 0..45 {
        let next = tokio::time::timeout(Duration::from_secs(60), tasks.join_next()).await;
        refused(next.expect("45 are refused").unwrap().unwrap());
    }
    fake.until(|fake| fake.seen().len() == seen_before + 5)
        .await;
    let figures = vendor.figures();
    assert_eq!(figures.in_flight, 5);
    assert_eq!(figures.reserved_usd, worst * Decimal::from(5));
    assert_eq!(figures.attempts["spend_cap_reached"], 45);
    tasks.shutdown().await;
    until(&vendor, |figures| figures.in_flight == 0).await;
    // Five prompts of 2 tokens each.
    let figures = vendor.figures();
    assert_eq!(figures.reserved_usd, Decimal::ZERO);
    assert_eq!(figures.spent_today_usd.normalize().to_string(), "0.000025");
}

#[tokio::test]
async fn what_is_measured_replaces_what_was_reserved() {
    let text = events(&[
        delta(json!({"content": "Hi"})),
        end("stop"),
        usage(1000, 100),
    ]);
    let fake = FakeVendor::start(move |_| Play::stream(text.clone())).await;
    let vendor = capped(&fake, "0.01");
    // Each costs 0.0035, so that the third could pass the cap.
    for _ in 0..2 {
        assert_eq!(
            outcome(vendor.chat(call(limited(100), "gpt-4o")))
                .await
                .error,
            None
        );
    }
    assert_eq!(
        vendor.figures().spent_today_usd.normalize().to_string(),
        "0.007"
    );
    let third = outcome(vendor.chat(call(limited(100), "gpt-4o"))).await;
    assert_eq!(third.error, Some(VendorError::SpendCapReached));
    assert_eq!(fake.seen().len(), 2);
    assert_eq!(vendor.figures().usd_per_day, Some(Decimal::new(1, 2)));
}

#[tokio::test]
async fn a_restart_does_not_lift_the_cap() {
    let fake = FakeVendor::start(|_| Play::stream("")).await;
    let vendor = capped(&fake, "5");
    let today = jiff::Timestamp::now()
        .to_zoned_datetime(jiff::tz::TimeZone::UTC)
        .date();
    vendor.add_spent(Decimal::from(5), today.yesterday().unwrap());
    vendor.add_spent(Decimal::new(4999, 3), today);
    let got = outcome(vendor.chat(call(limited(100), "gpt-4o"))).await;
    assert_eq!(got.error, Some(VendorError::SpendCapReached));
}

#[tokio::test]
async fn with_a_cap_what_is_unknown_is_refused_with_the_reason() {
    let fake = FakeVendor::start(|_| Play::stream("")).await;
    let vendor = capped(&fake, "5");
    let with = |name: &str, value: Value| {
        let mut body = limited(10).body().clone();
        body.insert(name.to_owned(), value);
        chat(Value::Object(body))
    };
    let file = json!([{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]);
    for (original, model, reason) in [
        (limited(10), "gpt-unheard-of", "no price"),
        (question(), "gpt-4o", "max_completion_tokens"),
        (
            with("service_tier", json!("priority")),
            "gpt-4o",
            "service_tier",
        ),
        (
            with("messages", file),
            "gpt-4o",
            "neither text nor an image",
        ),
    ] {
        let got = outcome(vendor.chat(call(original, model))).await;
        let Some(VendorError::CostUnknown(why)) = &got.error else {
            panic!("{:?}", got.error)
        };
        assert!(why.contains(reason), "{why}");
        assert_eq!(got.usd(), "0");
    }
    assert_eq!(fake.seen().len(), 0);
    let configured = crate::setup::vendor(
        &fake,
        "openai",
        "price_list = \"openai\"\nusd_per_day = \"5\"\nmax_output_tokens = { gpt-4o = 16384 }",
    );
    let got = outcome(configured.chat(call(question(), "gpt-4o"))).await;
    assert_eq!(got.error, Some(VendorError::Truncated), "it was sent");
    assert_eq!(
        fake.seen()[0].body.get("max_tokens"),
        None,
        "no limit is invented"
    );
    assert_eq!(fake.seen()[0].body.get("max_completion_tokens"), None);
}

#[tokio::test]
async fn a_bill_that_stays_unknown_counts_as_the_worst_case() {
    let text = events(&[delta(json!({"content": "Hi"})), end("stop"), usage(10, 1)]);
    let text = text.replace("gpt-4o-2024-08-06", "gpt-unheard-of");
    let fake = FakeVendor::start(move |_| Play::stream(text.clone())).await;
    let vendor = capped(&fake, "5");
    let got = outcome(vendor.chat(call(limited(100), "gpt-4o"))).await;
    assert_eq!((got.error, got.account.bill.usd), (None, None));
    let body = fake.seen()[0].body.to_string().len() as i64;
    let expected = Decimal::new(100 * 100 + 25 * (body + 1000), 7);
    assert_eq!(
        vendor.figures().spent_today_usd.normalize(),
        expected.normalize()
    );
    assert_eq!(vendor.figures().unknown_bills, 1);
}
