//! A measured mix beside a vendor's offer, with figures worked out by hand.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

use farthing_economics::{
    MachineTime, MeasuredMix, MixComparison, Offer, OfferAtMix, PriceBook, TokenWork,
    TokenizerFamily, parse_decimal,
};
use jiff::civil::{Date, date};
use rust_decimal::Decimal;

const BOOK: &str = r#"
[[token_price]]
vendor = "acme"
model = "large"
class = "frontier"
counting = "subset"
unit = "usd_per_million_tokens"
tokenizer = "o200k"
standard.rates = { input = "2.5", output = "10" }
provenance = { source = "a page", read_on = "2026-11-20" }
"#;
const TODAY: Date = date(2026, 11, 24);

fn d(text: &str) -> Decimal {
    parse_decimal(text).unwrap()
}

/// $3.60 an hour; in one hour 2 M prompt tokens, 1 M cached ones and 1 M of answers.
fn measured(tokenizer: Option<TokenizerFamily>) -> MeasuredMix {
    let work = |tokens| TokenWork {
        tokens,
        seconds: 600.0,
    };
    MeasuredMix {
        machine: MachineTime {
            window_seconds: 3600.0,
            busy_seconds: 1800.0,
            input: work(2_000_000),
            cached: work(1_000_000),
            output: work(1_000_000),
        },
        price: Some("3.60".parse().unwrap()),
        slo_tokens_per_second: Some(2000.0),
        tokenizer,
    }
}

fn compare(measured: &MeasuredMix) -> MixComparison {
    let mut book = PriceBook::default();
    book.extend(BOOK).unwrap();
    let offer = Offer::Tokens(book.token_price("acme/large", TODAY).unwrap());
    MixComparison::new(measured, &[offer], TODAY).unwrap()
}

fn only_offer(tokenizer: Option<TokenizerFamily>) -> OfferAtMix {
    compare(&measured(tokenizer)).offers.remove(0)
}

fn assert_close(found: Decimal, expected: &str) {
    assert!(
        (found - d(expected)).abs() < d("1e-12"),
        "{found}, not {expected}"
    );
}

#[test]
fn a_mix_costs_what_its_shares_cost() {
    let comparison = compare(&measured(None));
    assert_eq!(comparison.input_share, d("0.75"));
    // 4 M tokens an hour of 2,000 a second.
    assert_close(comparison.utilization.unwrap(), "0.555555555555556");
    let offer = &comparison.offers[0];
    assert_eq!((offer.kind, offer.stale), ("frontier", false));
    // Cached tokens count as others: (3 · 2.5 + 1 · 10) / 4.
    assert_eq!(offer.usd_per_million, Some(d("4.375")));
    assert_eq!(offer.rates.cached_input, None);
    // $0.50 per million at full utilization.
    let break_even = offer.break_even.unwrap();
    assert_close(break_even.utilization, "0.114285714285714");
    assert_close(break_even.tokens_per_day, "19748571.428571428571");
}

#[test]
fn an_offer_is_priced_in_own_tokens() {
    // The same text is 1.27 tokens of Mistral's for each of o200k.
    let same = only_offer(Some(TokenizerFamily::O200k));
    assert_eq!(same.usd_per_million, Some(d("4.375")));
    let fewer = only_offer(Some(TokenizerFamily::MistralSp));
    assert_close(fewer.usd_per_million.unwrap(), "3.444881889763780");
    assert_close(fewer.break_even.unwrap().utilization, "0.145142857142857");
}

#[test]
fn what_is_unknown_is_absent() {
    let mut unpriced = measured(None);
    unpriced.price = None;
    let comparison = compare(&unpriced);
    assert!(comparison.curve.is_none() && comparison.utilization.is_none());
    assert!(comparison.offers[0].break_even.is_none());
    let idle = MeasuredMix {
        machine: MachineTime::default(),
        ..measured(None)
    };
    assert!(MixComparison::new(&idle, &[], TODAY).is_none());
}
