#![allow(clippy::unwrap_used)]

use super::*;

fn of(text: &str) -> Option<Bill> {
    Bill::of_usd(text.parse().unwrap())
}

#[test]
fn a_bill_keeps_eighteen_places() {
    for text in [
        "0",
        "0.000000000000000001",
        "0.0123",
        "9223372036.854775807999999999",
    ] {
        assert_eq!(of(text).unwrap().usd().to_string(), text);
    }
    let split = of("1.000000002000000003").unwrap();
    assert_eq!((split.nanos, split.attos), (1_000_000_002, 3));
}

#[test]
fn further_places_are_rounded_half_to_even() {
    for (text, rounded) in [
        ("0.0000000000000000005", "0"),
        ("0.0000000000000000015", "0.000000000000000002"),
        ("0.00000000000000000050001", "0.000000000000000001"),
    ] {
        assert_eq!(of(text).unwrap().usd().to_string(), rounded);
    }
}

#[test]
fn impossible_bills_are_none() {
    for text in [
        "-0.01",
        "9223372036.854775808",
        "79228162514264337593543950335",
    ] {
        assert_eq!(of(text), None, "{text}");
    }
}
