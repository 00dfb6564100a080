use farthing_economics::RateCard;
use rust_decimal::Decimal;

use super::highest_rates;

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
