//! Callers that leave: in every phase the vendor is told, and the account is closed.

use farthing_vendors::{BillBasis, VendorEvent};
use futures_util::{FutureExt, StreamExt};
use rust_decimal::Decimal;

use crate::fake_vendor::{Ending, FakeVendor, Play, Step};
use crate::openai::delta;
use crate::setup::{ask, call, openai, question, until, vendor};

#[tokio::test]
async fn nothing_is_sent_before_the_events_are_polled() {
    let fake = FakeVendor::start(|_| Play::stream("")).await;
    let vendor = openai(&fake);
    let answer = ask(&vendor);
    drop(answer.events);
    let account = answer.account.await;
    assert_eq!(account.bill.usd, Some(Decimal::ZERO));
    assert_eq!(account.bill.basis, BillBasis::Measured);
    assert_eq!(vendor.figures().attempts["cancelled"], 1);
    assert_eq!(fake.seen().len(), 0);
}

#[tokio::test]
async fn leaving_closes_the_connection_in_every_phase() {
    let piece = format!(
        "data: {}\n\n",
        delta(serde_json::json!({"content": "Hello"}))
    );
    let plays = [
        Play::stream("").ending(Ending::Mute),
        Play::stream("").ending(Ending::Hang),
        Play::stream(": ping\n\n").ending(Ending::Hang),
        Play::stream(piece).ending(Ending::Hang),
    ];
    for (phase, play) in plays.into_iter().enumerate() {
        let fake = FakeVendor::start(move |_| play.clone()).await;
        let vendor = openai(&fake);
        let mut answer = ask(&vendor);
        if phase == 3 {
            answer.events.next().await.unwrap().unwrap();
            answer.events.next().await.unwrap().unwrap();
        } else {
            // It is polled until the vendor has the request.
            let sent = fake.until(|fake| fake.seen().len() == 1);
            tokio::select! {
                event = answer.events.next() => panic!("{event:?}"),
                () = sent => {}
            }
            assert!(answer.events.next().now_or_never().is_none());
        }
        assert_eq!(vendor.figures().in_flight, 1);
        drop(answer.events);
        let account = answer.account.await;
        assert_eq!(account.bill.basis, BillBasis::Estimated, "phase {phase}");
        // 7 bytes of prompt are 2 tokens, 5 bytes of answer too: 2 × 2.5 (+ 2 × 10) per million.
        let usd = account.bill.usd.unwrap().normalize().to_string();
        assert_eq!(usd, if phase == 3 { "0.000025" } else { "0.000005" });
        fake.until(|fake| fake.left() == 1).await;
        let figures = vendor.figures();
        assert_eq!(
            (figures.in_flight, figures.reserved_usd),
            (0, Decimal::ZERO)
        );
        assert_eq!(figures.attempts["cancelled"], 1);
    }
}

#[tokio::test]
async fn a_hundred_that_leave_leave_the_vendors_own_bill() {
    // The vendor counts as it goes, and bills 25 × 5 + 40 × 25 US dollars per million.
    let play = Play::steps(vec![Step::Bytes(
        concat!(
            r#"data: {"type": "message_start", "message": {"id": "m", "model": "claude-opus-4-8", "usage": {"input_tokens": 25, "output_tokens": 1}}}"#,
            "\n\n",
            r#"data: {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 40}}"#,
            "\n\n",
            r#"data: {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "Hi"}}"#,
            "\n\n",
        )
        .into(),
    )])
    .ending(Ending::Hang);
    let fake = FakeVendor::start(move |_| play.clone()).await;
    let vendor = vendor(
        &fake,
        "anthropic",
        "price_list = \"anthropic\"\nusd_per_day = \"1000\"",
    );
    let attempts = (0..100).map(|_| async {
        let mut answer = vendor.chat(call(question(), "claude-opus-4-8"));
        while !matches!(
            answer.events.next().await,
            Some(Ok(VendorEvent::Piece { .. }))
        ) {}
        drop(answer.events);
        answer.account.await.bill.usd.unwrap()
    });
    let bills = futures_util::future::join_all(attempts).await;
    assert_eq!(
        bills.iter().sum::<Decimal>().normalize().to_string(),
        "0.1125"
    );
    until(&vendor, |figures| figures.in_flight == 0).await;
    let figures = vendor.figures();
    assert_eq!(figures.spent_today_usd.normalize().to_string(), "0.1125");
    assert_eq!(figures.reserved_usd, Decimal::ZERO);
    fake.until(|fake| fake.left() == 100).await;
}
