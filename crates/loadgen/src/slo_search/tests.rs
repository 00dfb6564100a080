//! Searches with a scripted server.

use std::convert::Infallible;

use super::{SloRate, SloSearch, Tally};

const SEARCH: SloSearch = SloSearch {
    attainment: 0.95,
    first_rate: 1.0,
    resolution: 0.05,
    max_rates: 30,
};

/// These futures never wait, so they need no runtime.
fn search(search: SloSearch, mut probe: impl FnMut(f64) -> Tally) -> SloRate {
    let mut future = std::pin::pin!(
        search.run(async |rate: f64| -> Result<Tally, Infallible> { Ok(probe(rate)) })
    );
    let waker = std::task::Waker::noop();
    let mut context = std::task::Context::from_waker(waker);
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(Ok(found)) => found,
        _ => panic!("the probe waits for nothing"),
    }
}

fn all_or_nothing(rate: f64, capacity: f64) -> Tally {
    Tally {
        good: if rate <= capacity { 100 } else { 20 },
        total: 100,
    }
}

#[test]
fn the_rate_is_found_from_below_and_from_above() {
    for capacity in [0.07, 0.3, 1.0, 7.3, 900.0] {
        let found = search(SEARCH, |rate| all_or_nothing(rate, capacity));
        let (rate, broken) = (found.rate.unwrap(), found.broken_at.unwrap());
        assert!(
            rate <= capacity && capacity < broken,
            "{capacity}: {rate} to {broken}"
        );
        assert!(broken <= rate * 1.05, "{capacity}: {rate} to {broken}");
    }
}

#[test]
fn one_bad_try_breaks_no_rate() {
    // Other load disturbed once: the second and third tries at that rate are good.
    let mut tries = 0;
    let found = search(SEARCH, |rate| {
        if rate == 2.0 {
            tries += 1;
        }
        match (rate, tries) {
            (2.0, 1) => Tally {
                good: 50,
                total: 100,
            },
            _ => all_or_nothing(rate, 7.3),
        }
    });
    assert!(found.rate.unwrap() > 6.9);
    let probe = &found.probes[1];
    assert_eq!((probe.rate, probe.tries, probe.is_kept), (2.0, 3, true));
}

#[test]
fn what_is_unclear_is_tried_again_and_then_not_kept() {
    // 96 of 100 are more than 95 %, but might be 91 %.
    let found = search(SEARCH, |rate| Tally {
        good: if rate < 1.5 { 96 } else { 50 },
        total: 100,
    });
    assert_eq!(found.rate, None);
    assert_eq!((found.probes[0].tries, found.probes[0].total), (3, 300));
    // 49 of 50 are enough at the third time.
    let found = search(SEARCH, |rate| Tally {
        good: if rate < 1.5 { 49 } else { 10 },
        total: 50,
    });
    assert_eq!((found.probes[0].tries, found.probes[0].is_kept), (3, true));
}

#[test]
fn a_server_that_never_keeps_it_ends_the_search() {
    let found = search(SEARCH, |_| Tally {
        good: 0,
        total: 100,
    });
    assert_eq!((found.rate, found.probes.len()), (None, 9));
}

#[test]
fn a_server_that_always_keeps_it_ends_the_search() {
    let search_few = SloSearch {
        max_rates: 4,
        ..SEARCH
    };
    let found = search(search_few, |_| Tally {
        good: 100,
        total: 100,
    });
    assert_eq!((found.rate, found.broken_at), (Some(8.0), None));
}

#[test]
fn no_requests_prove_nothing() {
    let found = search(SEARCH, |_| Tally { good: 0, total: 0 });
    assert_eq!(found.rate, None);
}
