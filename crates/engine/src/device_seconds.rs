//! How the time since the start of the process was spent.

use std::{ops::Sub, time::Instant};

/// Seconds since the start of the process, by use. `warm_up`, `adapter_load`, `idle`, `host` and
/// `steps` do not overlap and add up to `window`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DeviceSeconds {
    /// All time.
    pub window: f64,
    /// Time until the server accepted requests: loading, calibration, the first token.
    pub warm_up: f64,
    /// Time to load adapters while no step could run.
    pub adapter_load: f64,
    /// Time without any request.
    pub idle: f64,
    /// Time in which there was work but the device waited for the host: planning, committing,
    /// sending results.
    pub host: f64,
    /// Time of steps.
    pub steps: f64,
    /// The part of `steps` for sequences whose caller left.
    pub aborted: f64,
    /// The part of `steps` for sequences that failed.
    pub failed: f64,
}

impl Sub for DeviceSeconds {
    type Output = Self;

    /// The difference to an earlier reading.
    fn sub(self, earlier: Self) -> Self {
        Self {
            window: self.window - earlier.window,
            warm_up: self.warm_up - earlier.warm_up,
            adapter_load: self.adapter_load - earlier.adapter_load,
            idle: self.idle - earlier.idle,
            host: self.host - earlier.host,
            steps: self.steps - earlier.steps,
            aborted: self.aborted - earlier.aborted,
            failed: self.failed - earlier.failed,
        }
    }
}

/// The use of time between steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// See [`DeviceSeconds::adapter_load`].
    AdapterLoad,
    /// See [`DeviceSeconds::idle`].
    Idle,
    /// See [`DeviceSeconds::host`].
    Host,
}

/// Books all time to some use. Each booking starts where the previous one ended, so that no time is
/// lost or counted twice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeline {
    began: Instant,
    booked_to: Instant,
    seconds: DeviceSeconds,
}

impl Timeline {
    /// Starts with the warm-up, at the start of the process.
    pub(crate) fn new(began: Instant) -> Self {
        Self {
            began,
            booked_to: began,
            seconds: DeviceSeconds::default(),
        }
    }

    pub(crate) fn seconds(&self) -> DeviceSeconds {
        self.seconds
    }

    pub(crate) fn seconds_mut(&mut self) -> &mut DeviceSeconds {
        &mut self.seconds
    }

    /// Books the time since the last booking, and returns the current time.
    pub(crate) fn pause(&mut self, pause: Pause) -> Instant {
        let elapsed = self.advance();
        *match pause {
            Pause::AdapterLoad => &mut self.seconds.adapter_load,
            Pause::Idle => &mut self.seconds.idle,
            Pause::Host => &mut self.seconds.host,
        } += elapsed;
        self.booked_to
    }

    /// Books the time since the last booking to a step, and returns the seconds of the step. If the
    /// device measured its own time, the rest is host time.
    pub(crate) fn step(&mut self, measured_seconds: Option<f64>) -> f64 {
        let elapsed = self.advance();
        // The clocks may differ; the window follows the host's clock.
        let step = measured_seconds.map_or(elapsed, |measured| measured.clamp(0.0, elapsed));
        self.seconds.steps += step;
        self.seconds.host += elapsed - step;
        step
    }

    /// Counts all time until now as warm-up.
    pub(crate) fn end_warm_up(&mut self) {
        self.advance();
        self.seconds = DeviceSeconds {
            window: self.seconds.window,
            warm_up: self.seconds.window,
            ..DeviceSeconds::default()
        };
    }

    /// Seconds since the last booking.
    fn advance(&mut self) -> f64 {
        let now = Instant::now();
        let elapsed = now - self.booked_to;
        self.booked_to = now;
        self.seconds.window = (now - self.began).as_secs_f64();
        elapsed.as_secs_f64()
    }
}
