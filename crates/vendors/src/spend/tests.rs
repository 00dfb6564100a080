use std::sync::Arc;

use jiff::civil::date;
use rust_decimal::Decimal;

use super::DailySpend;

fn usd(cents: i64) -> Decimal {
    Decimal::new(cents, 2)
}

#[test]
fn a_new_day_has_a_new_cap_and_the_old_reservations() {
    let (monday, tuesday) = (date(2026, 11, 30), date(2026, 12, 1));
    let spend = Arc::new(DailySpend::new(Some(usd(100))));
    spend
        .reserve(usd(60), monday)
        .unwrap()
        .settle(usd(50), monday);
    let over_midnight = spend.reserve(usd(50), monday).unwrap();
    assert!(spend.reserve(usd(1), monday).is_none());
    assert_eq!(spend.today(tuesday), (usd(0), usd(50)));
    assert!(spend.reserve(usd(51), tuesday).is_none());
    over_midnight.settle(usd(20), tuesday);
    assert_eq!(spend.today(tuesday), (usd(20), usd(0)));
    // A clock that is set back gives nobody the cap of another day.
    assert!(spend.reserve(usd(81), monday).is_none());
    assert!(spend.reserve(usd(80), monday).is_some());
}

#[test]
fn what_is_never_settled_is_spent() {
    let today = date(2026, 11, 30);
    let spend = Arc::new(DailySpend::new(Some(usd(100))));
    drop(spend.reserve(usd(70), today).unwrap());
    assert_eq!(spend.today(today), (usd(70), usd(0)));
    assert!(spend.reserve(usd(31), today).is_none());
}

#[test]
fn a_bill_above_the_reservation_is_counted_whole() {
    let today = date(2026, 11, 30);
    let spend = Arc::new(DailySpend::new(Some(usd(100))));
    spend
        .reserve(usd(10), today)
        .unwrap()
        .settle(usd(150), today);
    assert_eq!(spend.today(today), (usd(150), usd(0)));
    assert!(spend.reserve(usd(0), today).is_none());
}

#[test]
fn without_a_cap_everything_is_counted() {
    let today = date(2026, 11, 30);
    let spend = Arc::new(DailySpend::new(None));
    spend
        .reserve(usd(1_000_000), today)
        .unwrap()
        .settle(usd(5), today);
    spend.add(usd(7), today);
    spend.add(usd(9), today.yesterday().unwrap());
    assert_eq!(spend.today(today), (usd(12), usd(0)));
}
