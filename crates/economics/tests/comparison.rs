//! The same work side by side, and split between two sides.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

use farthing_economics::{
    Comparison, FleetInputs, HybridSplit, MeasuredCost, Offer, PriceBook, TcoError, TextKind,
    TokenizerFamily, Work, parse_decimal,
};
use jiff::civil::date;
use rust_decimal::Decimal;

fn d(text: &str) -> Decimal {
    parse_decimal(text).unwrap()
}

/// GPUs at $2 that carry 40 M tokens a day on average, one standing by, and $1,000 a month.
fn fleet() -> FleetInputs {
    FleetInputs {
        gpus: None,
        per_gpu_hour: Some("2".parse().unwrap()),
        fixed_usd_per_month: d("1000"),
        slo_tokens_per_day: Some(d("100e6")),
        peak_to_mean: d("2.5"),
        redundancy: 1,
    }
}

/// Every number of GPUs tried.
fn cheapest_of_all(tokens_per_day: Decimal, api_usd: Decimal, escalated: Decimal) -> Decimal {
    let costs = (1..200u32).map(|gpus| {
        let gpus = Decimal::from(gpus);
        let share = ((gpus - Decimal::ONE) * d("40e6") / tokens_per_day).min(Decimal::ONE);
        gpus * d("1460") + d("1000") + api_usd * (Decimal::ONE - share + escalated * share)
    });
    costs.chain([api_usd]).min().unwrap()
}

#[test]
fn the_cheapest_split_is_the_cheapest_of_all() {
    for tokens in ["1e6", "39e6", "40e6", "41e6", "300e6", "1010e6", "5e9"] {
        for usd_per_million in ["0.5", "1.2", "1.3", "2", "4"] {
            for escalated in ["0", "0.1", "1"] {
                let (tokens, escalated) = (d(tokens), d(escalated));
                let api_usd = tokens * Decimal::from(30) * d(usd_per_million) / d("1e6");
                let split = HybridSplit::cheapest(&fleet(), tokens, api_usd, escalated).unwrap();
                let cheapest = cheapest_of_all(tokens, api_usd, escalated);
                let error = (split.usd_per_month - cheapest).abs();
                assert!(
                    error < d("1e-18"),
                    "{tokens} {usd_per_million}: {split:?}, not {cheapest}"
                );
                assert_eq!(
                    split.usd_per_month,
                    split.own_usd_per_month + split.api_usd_per_month
                );
            }
        }
    }
}

#[test]
fn a_split_fills_the_gpus_that_pay() {
    // $2 per million: a GPU's 40 M a day are worth $2,400 and cost $1,460. 12.25 of them would
    // carry 490 M; the rest of 10 M a day, $600, is not worth another.
    let split = HybridSplit::cheapest(&fleet(), d("490e6"), d("29400"), Decimal::ZERO).unwrap();
    assert_eq!(split.gpus, 13);
    assert_eq!(split.own_usd_per_month, d("19980"));
    assert!(
        (split.api_usd_per_month - d("600")).abs() < d("1e-18"),
        "{split:?}"
    );
    // A fleet that is there is used as far as it goes.
    let mut fleet = fleet();
    fleet.gpus = Some(6);
    let split = HybridSplit::cheapest(&fleet, d("490e6"), d("29400"), Decimal::ZERO).unwrap();
    assert_eq!(split.gpus, 6);
    assert!(
        (split.api_usd_per_month - d("17400")).abs() < d("1e-18"),
        "{split:?}"
    );
    fleet.slo_tokens_per_day = None;
    assert_eq!(
        HybridSplit::cheapest(&fleet, d("490e6"), d("29400"), Decimal::ZERO),
        None
    );
}

fn work() -> Work {
    Work {
        tokens_per_day: d("120e6"),
        prompt_tokens: d("1000"),
        cached_tokens: d("600"),
        output_tokens: d("200"),
        tokenizer: Some(TokenizerFamily::MistralSp),
        text: TextKind::English,
        escalated: Decimal::ZERO,
    }
}

#[test]
fn a_measured_cost_is_its_tokens_times_their_prices() {
    let report = r#"{"measured_cost": {
        "usd_per_million_input": 0.25, "usd_per_million_cached_input": 0.05, "usd_per_million_output": 1.1,
        "mean_prompt_tokens": 1000, "mean_cached_tokens": 600, "mean_output_tokens": 200}}"#;
    let measured = MeasuredCost::from_report(report).unwrap();
    let none = FleetInputs {
        per_gpu_hour: None,
        slo_tokens_per_day: None,
        fixed_usd_per_month: Decimal::ZERO,
        ..fleet()
    };
    let day = date(2026, 11, 24);
    let comparison = Comparison::new(&work(), &none, Some(&measured), &[], day).unwrap();
    let own = comparison.own.measured.unwrap();
    // (400 × 0.25 + 600 × 0.05 + 200 × 1.1)/1e6, three million requests a month.
    assert_eq!(own.usd_per_request, d("0.00035"));
    assert_eq!(comparison.requests_per_month, d("3000000"));
    assert_eq!(own.usd_per_month, d("1050"));
    assert!(comparison.own.fleet.is_none());
    let error = Comparison::new(&work(), &none, None, &[], day).unwrap_err();
    assert_eq!(error, TcoError::MissingGpus);
    // It is written as it was read.
    let written = serde_json::to_string(&measured).unwrap();
    let again = MeasuredCost::from_report(&format!("{{\"measured_cost\": {written}}}")).unwrap();
    assert_eq!(again, measured);
}

#[test]
fn a_vendor_counts_by_its_own_tokenizer_and_tier() {
    let mut book = PriceBook::default();
    book.extend(
        r#"
        [[token_price]]
        vendor = "acme"
        model = "m"
        class = "frontier"
        counting = "subset"
        tokenizer = "o200k"
        unit = "usd_per_million_tokens"
        standard.rates = { input = "2", output = "8" }
        standard.tiers = [{ above_prompt_tokens = 800, rates = { input = "4" } }]
        provenance = { source = "a page", read_on = "2026-11-24", valid_from = "2026-11-24" }
        "#,
    )
    .unwrap();
    let day = date(2026, 11, 24);
    let price = book.token_price("m", day).unwrap();
    let side = |work: &Work| {
        let comparison = Comparison::new(work, &fleet(), None, &[Offer::Tokens(price)], day);
        comparison.unwrap().offers.remove(0)
    };
    // 1000 of ours are 787.4 of theirs, below the tier; without a price of cached tokens all cost 2.
    let offer = side(&work());
    let expected = d("3600") / d("1.27") / d("1e6");
    assert!(
        (offer.cost.usd_per_request - expected).abs() < d("1e-20"),
        "{offer:?}"
    );
    assert!(
        offer.assumptions[0].contains("cached tokens is unknown"),
        "{offer:?}"
    );
    assert!(!offer.stale);
    // As many, as far as is known: 1000 is above the tier.
    let mut unknown = work();
    unknown.tokenizer = None;
    let offer = side(&unknown);
    assert_eq!(offer.cost.usd_per_request, d("0.0056"));
    assert_eq!(offer.tokens_per_own_token, None);
    assert!(
        offer.assumptions[0].contains("a tokenizer is unknown"),
        "{offer:?}"
    );
}
