use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Breaker, BreakerState, LONGEST_PAUSE};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn pause(breaker: &Breaker, now: Instant) -> Option<Duration> {
    match breaker.state(now) {
        BreakerState::Open { retry_after } => Some(retry_after),
        _ => None,
    }
}

#[test]
fn the_later_of_two_deadlines_holds() {
    let (breaker, now) = (Arc::new(Breaker::default()), Instant::now());
    let passes = [(); 3].map(|()| breaker.admit(now).unwrap());
    let [fast, slow, late] = passes;
    fast.failed(now, Some(seconds(1)));
    slow.failed(now, Some(seconds(60)));
    assert_eq!(pause(&breaker, now), Some(seconds(60)));
    late.failed(now + seconds(1), Some(seconds(2)));
    assert_eq!(pause(&breaker, now), Some(seconds(60)));
    // An answer that was on its way does not end the pause that was asked for.
    let (breaker, other) = (Arc::new(Breaker::default()), Instant::now());
    let [failing, good] = [(); 2].map(|()| breaker.admit(other).unwrap());
    failing.failed(other, Some(seconds(60)));
    good.succeeded();
    assert_eq!(pause(&breaker, other), Some(seconds(60)));
}

#[test]
fn no_pause_is_longer_than_the_longest() {
    let (breaker, now) = (Arc::new(Breaker::default()), Instant::now());
    breaker
        .admit(now)
        .unwrap()
        .failed(now, Some(seconds(561_600)));
    assert_eq!(pause(&breaker, now), Some(LONGEST_PAUSE));
    assert_eq!(breaker.admit(now).unwrap_err(), LONGEST_PAUSE);
}

#[test]
fn one_probe_finds_out() {
    let (breaker, now) = (Arc::new(Breaker::default()), Instant::now());
    breaker.admit(now).unwrap().failed(now, Some(seconds(10)));
    assert!(breaker.admit(now + seconds(9)).is_err());
    let later = now + seconds(10);
    assert_eq!(breaker.state(later), BreakerState::HalfOpen);
    let probe = breaker.admit(later).unwrap();
    assert!(breaker.admit(later).is_err(), "one at a time");
    // A caller that leaves found out nothing.
    drop(probe);
    let mut probe = breaker.admit(later).unwrap();
    assert!(breaker.admit(later).is_err());
    probe.answers();
    assert_eq!(breaker.state(later), BreakerState::Closed);
    assert!(
        breaker.admit(later).is_ok(),
        "all may come before its answer is complete"
    );
    probe.succeeded();
    assert_eq!(breaker.state(later), BreakerState::Closed);
}

#[test]
fn failed_probes_wait_longer_each_time() {
    let breaker = Arc::new(Breaker::default());
    let mut now = Instant::now();
    for _ in 0..5 {
        assert_eq!(breaker.state(now), BreakerState::Closed);
        breaker.admit(now).unwrap().failed(now, None);
    }
    for expected in [5, 10, 20, 40, 80, 160, 300, 300] {
        assert_eq!(pause(&breaker, now), Some(seconds(expected)));
        now += seconds(expected);
        breaker.admit(now).unwrap().failed(now, None);
    }
    now += LONGEST_PAUSE;
    breaker.admit(now).unwrap().succeeded();
    breaker.admit(now).unwrap().failed(now, None);
    assert_eq!(
        breaker.state(now),
        BreakerState::Closed,
        "a good answer forgives"
    );
}

#[test]
fn answers_that_break_off_still_count() {
    let (breaker, now) = (Arc::new(Breaker::default()), Instant::now());
    for _ in 0..5 {
        let mut pass = breaker.admit(now).unwrap();
        pass.answers();
        pass.failed(now, None);
    }
    assert!(pause(&breaker, now).is_some());
}

#[test]
fn attempts_that_fail_together_pause_once() {
    let (breaker, now) = (Arc::new(Breaker::default()), Instant::now());
    let passes: Vec<_> = (0..100).map(|_| breaker.admit(now).unwrap()).collect();
    let alone = Arc::new(Breaker::default());
    for _ in 0..super::MAX_FAILURES {
        alone.admit(now).unwrap().failed(now, None);
    }
    for pass in passes {
        pass.failed(now, None);
    }
    assert_eq!(pause(&breaker, now), pause(&alone, now));
}
