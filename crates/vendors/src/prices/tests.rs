use farthing_economics::RateCard;
use rust_decimal::Decimal;

use super::{highest_rates, undated};

#[test]
fn dates_and_revisions_are_left_out_of_names() {
    for (name, plain) in [
        ("gpt-4o-2024-08-06", Some("gpt-4o")),
        ("claude-haiku-4-5-20251001", Some("claude-haiku-4-5")),
        ("gemini-2.5-flash-001", Some("gemini-2.5-flash")),
        ("claude-haiku-4-5", None),
        ("gpt-4o-mini", None),
        ("gpt-4o-24-08-06", None),
        ("o3", None),
        ("20251001", None),
        ("", None),
    ] {
        assert_eq!(undated(name), plain, "{name}");
    }
}

#[test]
fn the_worst_case_has_the_highest_rate_that_a_prompt_can_meet() {
    let rates = r#"{"inp": 3, "cache_read": 0.3, "cache_write_1h": 6, "out": 15, "inp_above_200k": 10, "out_above_200k": 12}"#;
    let (card, _) = RateCard::from_json(rates).unwrap();
    let highest = |prompt| {
        let rates = highest_rates(&card, prompt);
        (rates.input.unwrap(), rates.output.unwrap())
    };
    // All of it may be written to the cache for an hour.
    assert_eq!(highest(200_000), (Decimal::from(6), Decimal::from(15)));
    // A prompt of up to 200,001 tokens may also be a shorter one, whose answer costs more.
    assert_eq!(highest(200_001), (Decimal::from(10), Decimal::from(15)));
}
