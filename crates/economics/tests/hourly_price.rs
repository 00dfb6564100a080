//! Prices are exact: the expected figures are worked by hand.

use farthing_economics::{HourlyPrice, PriceError};
use rust_decimal::Decimal;

fn price(text: &str) -> HourlyPrice {
    text.parse().unwrap()
}

fn decimal(text: &str) -> Decimal {
    Decimal::from_str_exact(text).unwrap()
}

#[test]
fn an_hour_costs_the_price() {
    assert_eq!(price("2.99").cost_of(3600.0), decimal("2.99"));
}

#[test]
fn a_tenth_of_a_dollar_an_hour_is_exact_in_small_shares() {
    assert_eq!(price("0.10").cost_of(0.36), decimal("0.00001"));
    assert_eq!(
        price("0.10").cost_of(0.000_000_036),
        decimal("0.000000000001")
    );
}

#[test]
fn a_third_is_rounded_at_the_eighteenth_digit() {
    assert_eq!(price("1").cost_of(1.2), decimal("0.000333333333333333"));
}

#[test]
fn what_is_no_duration_costs_nothing() {
    for seconds in [0.0, -1.0, f64::NAN] {
        assert_eq!(price("2").cost_of(seconds), Decimal::ZERO);
    }
}

#[test]
fn the_longest_time_at_the_highest_price_does_not_overflow() {
    assert!(price("1000000").cost_of(f64::INFINITY) > decimal("277777777777777"));
}

#[test]
fn what_is_no_price_is_refused() {
    assert_eq!(
        "ten".parse::<HourlyPrice>(),
        Err(PriceError::NotANumber("ten".to_owned()))
    );
    assert_eq!(
        "-1".parse::<HourlyPrice>(),
        Err(PriceError::OutOfRange(decimal("-1")))
    );
    assert_eq!(
        "1000001".parse::<HourlyPrice>(),
        Err(PriceError::OutOfRange(decimal("1000001")))
    );
}
