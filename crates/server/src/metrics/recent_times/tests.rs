use std::time::{Duration, Instant};

use super::RecentTimes;

/// Quantiles of 1 to 1,000 ms are known: 500, 950 and 990 ms.
#[test]
fn quantiles_are_told_to_within_three_percent() {
    let mut times = RecentTimes::default();
    let now = Instant::now();
    (1..=1000).for_each(|ms| times.observe(now, f64::from(ms) / 1e3));
    let found = times.quantiles(now);
    assert_eq!(found.count, 1000);
    for (found, expected) in [
        (found.p50_seconds, 0.50),
        (found.p95_seconds, 0.95),
        (found.p99_seconds, 0.99),
    ] {
        let found = found.unwrap_or_default();
        assert!(
            (found / expected - 1.0).abs() < 0.03,
            "{found} is not {expected}"
        );
    }
}

#[test]
fn what_is_older_than_the_window_is_forgotten() {
    let mut times = RecentTimes::default();
    let now = Instant::now();
    let later = |seconds| now + Duration::from_secs(seconds);
    times.observe(now, 8.0);
    times.observe(later(200), 0.5);
    assert_eq!(times.quantiles(later(299)).count, 2);
    let found = times.quantiles(later(301));
    assert_eq!(found.count, 1);
    assert!(found.p99_seconds.is_some_and(|seconds| seconds < 0.52));
    let none = times.quantiles(later(600));
    assert_eq!((none.count, none.p50_seconds), (0, None));
}

/// Neither breaks anything, nor counts as something in between.
#[test]
fn times_off_the_scale_count_as_its_ends() {
    let mut times = RecentTimes::default();
    let now = Instant::now();
    times.observe(now, 0.0);
    assert!(
        times
            .quantiles(now)
            .p50_seconds
            .is_some_and(|seconds| seconds < 2e-5)
    );
    times.observe(now, 1e9);
    times.observe(now, 1e9);
    assert!(
        times
            .quantiles(now)
            .p95_seconds
            .is_some_and(|seconds| seconds > 2900.0)
    );
}
