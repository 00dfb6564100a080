use std::sync::Arc;

use farthing_keys::{Key, SecretHash, Terms};
use jiff::Timestamp;

use super::SpendingCaps;

fn key(usd_per_day: Option<&str>) -> Key {
    Key {
        id: "a".to_owned(),
        name: "prod".to_owned(),
        sha256: SecretHash::of("secret"),
        created: Timestamp::UNIX_EPOCH,
        revoked: None,
        terms: Terms {
            tenant: "acme".to_owned(),
            usd_per_day: usd_per_day.map(|usd| usd.parse().unwrap()),
            ..Terms::default()
        },
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn close_to(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-9, "{a} {b}");
}

/// At 3.60 USD an hour a second costs 0.001 USD.
fn caps() -> SpendingCaps {
    SpendingCaps::new(Some("3.60".parse().unwrap()))
}

#[test]
fn a_budget_is_the_cap_at_the_price_for_one_day_in_utc() {
    let caps = caps();
    let budget = caps.budget(&key(Some("0.01")), at("2026-11-28T00:00:00Z"));
    let budget = budget.unwrap();
    close_to(budget.left_seconds(), 10.0);
    budget.add(-12.0);
    let later = caps.budget(&key(Some("0.01")), at("2026-11-28T23:59:59Z"));
    assert!(later.unwrap().is_used_up());
    let tomorrow = caps.budget(&key(Some("0.01")), at("2026-11-29T00:00:00Z"));
    // Requests that run across midnight use the same budget.
    assert!(Arc::ptr_eq(&tomorrow.unwrap(), &budget));
    close_to(budget.left_seconds(), 10.0);
}

#[test]
fn a_changed_cap_keeps_what_is_spent() {
    let caps = caps();
    let now = at("2026-11-28T12:00:00Z");
    let budget = caps.budget(&key(Some("0.01")), now).unwrap();
    budget.add(-4.0);
    caps.budget(&key(Some("0.02")), now);
    close_to(budget.left_seconds(), 16.0);
    caps.budget(&key(Some("0.003")), now);
    close_to(budget.left_seconds(), -1.0);
    assert!(caps.budget(&key(None), now).is_none());
}

#[test]
fn what_was_spent_before_the_start_counts_once() {
    let caps = caps();
    caps.count_spent("prod", 3.0);
    caps.count_spent("other", 9.0);
    let now = at("2026-11-28T12:00:00Z");
    let budget = caps.budget(&key(Some("0.01")), now).unwrap();
    close_to(budget.left_seconds(), 7.0);
    caps.budget(&key(Some("0.01")), now);
    close_to(budget.left_seconds(), 7.0);
}

#[test]
fn a_free_machine_has_no_limit() {
    let free = SpendingCaps::new(Some("0".parse().unwrap()));
    let now = at("2026-11-28T12:00:00Z");
    let budget = free.budget(&key(Some("0.01")), now).unwrap();
    assert!(budget.left_seconds() > 1e6);
}
