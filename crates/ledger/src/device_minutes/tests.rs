#![allow(clippy::unwrap_used)]

use super::*;

fn seconds(window: f64, steps: f64, idle: f64, warm_up: f64) -> DeviceSeconds {
    DeviceSeconds {
        window,
        steps,
        idle,
        warm_up,
        ..DeviceSeconds::default()
    }
}

/// `(start, window, steps, idle, warm_up)` of each minute, in seconds.
fn dealt(minutes: &DeviceMinutes) -> Vec<(i64, [f64; 4])> {
    let told = |minute: DeviceMinute| {
        let times = [0, 1, 2, 4].map(|part| minute.times[part].as_secs_f64());
        (minute.start, times)
    };
    minutes.unsaved().into_iter().map(told).collect()
}

#[test]
fn a_stretch_over_several_minutes_is_shared_out_by_their_length() {
    // Begins 30 s into the minute at 120.
    let mut minutes = DeviceMinutes::new(150 * MICROS);
    minutes.sample(seconds(120.0, 30.0, 90.0, 0.0));
    assert_eq!(
        dealt(&minutes),
        [
            (120, [30.0, 7.5, 22.5, 0.0]),
            (180, [60.0, 15.0, 45.0, 0.0]),
            (240, [30.0, 7.5, 22.5, 0.0]),
        ]
    );
}

#[test]
fn a_minute_grows_until_the_next_begins() {
    let mut minutes = DeviceMinutes::new(60 * MICROS);
    minutes.sample(seconds(10.0, 0.0, 0.0, 10.0));
    minutes.saved();
    minutes.sample(seconds(40.0, 20.0, 10.0, 10.0));
    assert_eq!(dealt(&minutes), [(60, [40.0, 20.0, 10.0, 10.0])]);
    minutes.sample(seconds(80.0, 20.0, 50.0, 10.0));
    assert_eq!(
        dealt(&minutes),
        [
            (60, [60.0, 20.0, 30.0, 10.0]),
            (120, [20.0, 0.0, 20.0, 0.0])
        ]
    );
    minutes.saved();
    assert_eq!(dealt(&minutes), [(120, [20.0, 0.0, 20.0, 0.0])]);
}

#[test]
fn nothing_is_lost_to_rounding() {
    let mut minutes = DeviceMinutes::new(59_999_983);
    let mut now = DeviceSeconds::default();
    for step in 1..2_000_u32 {
        // Lengths that no minute divides evenly, in floats that are no decimals.
        let length = f64::from(step).sqrt() / 3.0;
        now.window += length;
        now.steps += length / 7.0;
        now.idle = now.window - now.steps;
        minutes.sample(now);
    }
    let sums: DeviceTimes = std::array::from_fn(|part| {
        let minutes = minutes.unsaved();
        minutes.iter().map(|minute| minute.times[part]).sum()
    });
    assert_eq!(sums, times(now));
    for minute in minutes.unsaved().iter().skip(1).rev().skip(1) {
        assert_eq!(minute.times[0].as_secs_f64(), 60.0);
    }
}

#[test]
fn figures_that_stand_still_change_nothing() {
    let mut minutes = DeviceMinutes::new(0);
    minutes.sample(seconds(1.0, 1.0, 0.0, 0.0));
    let before = minutes.unsaved();
    minutes.sample(seconds(1.0, 1.0, 0.0, 0.0));
    assert_eq!(minutes.unsaved(), before);
}
