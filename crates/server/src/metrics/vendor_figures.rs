//! Vendors, and the shadows of routes.

use farthing_vendors::{BreakerState, VendorFigures};

use super::ShadowCounts;
use super::exposition::Exposition;

pub(super) fn render(
    page: &mut Exposition,
    vendors: &[(String, VendorFigures)],
    shadows: &[(String, ShadowCounts)],
) {
    if !vendors.is_empty() {
        render_vendors(page, vendors);
    }
    if !shadows.is_empty() {
        let counts = shadows.iter().flat_map(|(route, counts)| {
            [
                ([route.as_str(), "answered"], counts.answered),
                ([route.as_str(), "failed"], counts.failed),
                ([route.as_str(), "skipped"], counts.skipped),
            ]
        });
        page.counters_by(
            "farthing_shadow_requests_total",
            "Requests that were sent to a route's shadow too; skipped ones found no room.",
            ["route", "result"],
            counts,
        );
    }
}

fn render_vendors(page: &mut Exposition, vendors: &[(String, VendorFigures)]) {
    let attempts = vendors.iter().flat_map(|(vendor, figures)| {
        let results = figures.attempts.iter();
        results.map(move |(result, count)| ([vendor.as_str(), *result], *count))
    });
    page.counters_by(
        "farthing_vendor_attempts_total",
        "Ended attempts at a vendor by result.",
        ["vendor", "result"],
        attempts,
    );
    let of_each = |figure: fn(&VendorFigures) -> String| {
        let figures = vendors.iter();
        figures.map(move |(vendor, figures)| ([vendor.as_str()], figure(figures)))
    };
    page.counters_by(
        "farthing_vendor_unknown_bills_total",
        "Attempts whose cost is unknown.",
        ["vendor"],
        of_each(|it| it.unknown_bills.to_string()),
    );
    page.gauges(
        "farthing_vendor_spent_today_usd",
        "US dollars spent today (UTC).",
        ["vendor"],
        of_each(|it| it.spent_today_usd.to_string()),
    );
    page.gauges(
        "farthing_vendor_reserved_usd",
        "US dollars that running attempts may still cost.",
        ["vendor"],
        of_each(|it| it.reserved_usd.to_string()),
    );
    let capped = vendors
        .iter()
        .filter_map(|(vendor, figures)| Some(([vendor.as_str()], figures.usd_per_day?)));
    page.gauges(
        "farthing_vendor_usd_per_day",
        "The cap of a day in US dollars.",
        ["vendor"],
        capped,
    );
    page.gauges(
        "farthing_vendor_in_flight",
        "Running attempts.",
        ["vendor"],
        of_each(|it| it.in_flight.to_string()),
    );
    page.gauges(
        "farthing_vendor_breaker",
        "0: the vendor is asked. 1: it is left alone after failures. 2: one attempt finds out.",
        ["vendor"],
        of_each(|it| match it.breaker {
            BreakerState::Closed => "0".to_owned(),
            BreakerState::Open { .. } => "1".to_owned(),
            BreakerState::HalfOpen => "2".to_owned(),
        }),
    );
}
