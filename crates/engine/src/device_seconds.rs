//! Where the time since the start of the process went.

use std::{ops::Sub, time::Instant};

/// Seconds since the start of the process, by what they went to. `warm_up`, `adapter_load`,
/// `idle`, `host` and `steps` do not overlap and make up the `window`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DeviceSeconds {
    /// All there were.
    pub window: f64,
    /// Until the door opened: loading, calibrating, the first token.
    pub warm_up: f64,
    /// Adapters were loaded and no step could run.
    pub adapter_load: f64,
    /// Nobody asked for anything.
    pub idle: f64,
    /// Work was there, but the device waited for the host: planning, committing, telling callers.
    pub host: f64,
    /// Steps ran.
    pub steps: f64,
    /// Of the steps' seconds, those of sequences whose caller left.
    pub aborted: f64,
    /// Of the steps' seconds, those of sequences that the engine failed.
    pub failed: f64,
}

impl Sub for DeviceSeconds {
    type Output = Self;

    /// What has come since `earlier`.
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

/// What time between steps goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// See [`DeviceSeconds::adapter_load`].
    AdapterLoad,
    /// See [`DeviceSeconds::idle`].
    Idle,
    /// See [`DeviceSeconds::host`].
    Host,
}

/// Books all time to something: each booking begins where the one before it ended, so that nothing
/// is lost or counted twice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeline {
    began: Instant,
    booked_to: Instant,
    seconds: DeviceSeconds,
}

impl Timeline {
    /// Begins with the warm-up, at the start of the process.
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

    /// Books the time until now.
    pub(crate) fn pause(&mut self, pause: Pause) -> Instant {
        let elapsed = self.advance();
        *match pause {
            Pause::AdapterLoad => &mut self.seconds.adapter_load,
            Pause::Idle => &mut self.seconds.idle,
            Pause::Host => &mut self.seconds.host,
        } += elapsed;
        self.booked_to
    }

    /// Books the time until now to a step, and tells its seconds. Where the device measured its own
    /// time, the rest is the host's.
    pub(crate) fn step(&mut self, measured_seconds: Option<f64>) -> f64 {
        let elapsed = self.advance();
        // Two clocks may disagree; the window goes by ours.
        let step = measured_seconds.map_or(elapsed, |measured| measured.clamp(0.0, elapsed));
        self.seconds.steps += step;
        self.seconds.host += elapsed - step;
        step
    }

    /// All time until now was warm-up.
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
