//! What is a price, and what is not.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

use farthing_economics::{HourlyPrice, PriceError};
use rust_decimal::Decimal;

fn decimal(text: &str) -> Decimal {
    Decimal::from_str_exact(text).unwrap()
}

#[test]
fn a_price_is_kept_as_written() {
    for text in ["0", "0.10", "2.99", "1000000"] {
        let price: HourlyPrice = text.parse().unwrap();
        assert_eq!(price.usd().to_string(), text);
    }
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
