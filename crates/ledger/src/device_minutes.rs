//! Device time by use, minute by minute.

use std::collections::BTreeMap;

use crate::Picoseconds;
use crate::window::{MICROS, MINUTE};

/// Cumulative device seconds since the process began, by use: `window` = `steps` + `idle` + `host`
/// + `warm_up` + `adapter_load`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DeviceSeconds {
    /// All time.
    pub window: f64,
    /// Time of engine steps, which requests share.
    pub steps: f64,
    /// Time without any request.
    pub idle: f64,
    /// Time in which there was work but the device waited for the host.
    pub host: f64,
    /// Time to load and measure, before the first request.
    pub warm_up: f64,
    /// Time to load adapters.
    pub adapter_load: f64,
}

/// [`DeviceSeconds`] of a period or cumulative, in the order of its fields.
pub(crate) type DeviceTimes = [Picoseconds; 6];

/// The device time of one minute so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeviceMinute {
    /// The minute's first second, in seconds since 1970.
    pub start: i64,
    pub times: DeviceTimes,
}

/// Distributes cumulative figures over minutes. The minutes add up to the last figure exactly,
/// because they are differences of one running total.
pub(crate) struct DeviceMinutes {
    /// When the process began, by the system clock. From then on only the monotonic clock counts.
    started_us: i64,
    last: DeviceTimes,
    /// Minutes whose current values may not be in the database yet.
    unsaved: BTreeMap<i64, DeviceTimes>,
}

const PICOS_PER_MICRO: i128 = 1_000_000;

impl DeviceMinutes {
    pub(crate) fn new(started_us: i64) -> Self {
        Self {
            started_us,
            last: DeviceTimes::default(),
            unsaved: BTreeMap::new(),
        }
    }

    /// Adds the figures as of now.
    pub(crate) fn sample(&mut self, now: DeviceSeconds) {
        let now = times(now);
        let (from, to) = (self.last[0], now[0]);
        if to <= from {
            return;
        }
        let mut dealt = self.last;
        let mut minute = self.minute_at(from);
        while dealt[0] < to {
            let until = self.picoseconds_at(minute + MINUTE).min(to);
            let share = |last: Picoseconds, now: Picoseconds| {
                let part = (now - last).get() * (until - from).get() / (to - from).get();
                last + Picoseconds::new(part)
            };
            let next: DeviceTimes = std::array::from_fn(|i| share(self.last[i], now[i]));
            let times = self.unsaved.entry(minute).or_default();
            for (time, (next, dealt)) in times.iter_mut().zip(next.iter().zip(dealt)) {
                *time += *next - dealt;
            }
            dealt = next;
            minute += MINUTE;
        }
        self.last = now;
    }

    pub(crate) fn unsaved(&self) -> Vec<DeviceMinute> {
        let minutes = self.unsaved.iter();
        minutes
            .map(|(&start, &times)| DeviceMinute { start, times })
            .collect()
    }

    /// Marks all minutes as saved. The latest one may still grow.
    pub(crate) fn saved(&mut self) {
        if let Some((start, times)) = self.unsaved.pop_last() {
            self.unsaved.clear();
            self.unsaved.insert(start, times);
        }
    }

    fn minute_at(&self, since_start: Picoseconds) -> i64 {
        let us = i128::from(self.started_us) + since_start.get() / PICOS_PER_MICRO;
        let seconds = us.div_euclid(i128::from(MICROS)) as i64;
        seconds - seconds.rem_euclid(MINUTE)
    }

    /// Time since the start of the process, at a second since 1970.
    fn picoseconds_at(&self, second: i64) -> Picoseconds {
        Picoseconds::new(i128::from(second * MICROS - self.started_us) * PICOS_PER_MICRO)
    }
}

fn times(seconds: DeviceSeconds) -> DeviceTimes {
    let DeviceSeconds {
        window,
        steps,
        idle,
        host,
        warm_up,
        adapter_load,
    } = seconds;
    [window, steps, idle, host, warm_up, adapter_load].map(Picoseconds::from_seconds)
}

#[cfg(test)]
mod tests;
