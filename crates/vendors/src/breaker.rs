//! Leaves a failing vendor alone for a while.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The number of failures in a row that stops the attempts.
const MAX_FAILURES: u32 = 5;
/// The first pause. It doubles as long as probes fail.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// No pause is longer, whatever a vendor asks for: it may be well again sooner.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// When to ask again while a probe is running.
const PROBE_WAIT: Duration = Duration::from_secs(1);

/// Whether a vendor is asked at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Attempts are made.
    Closed,
    /// No attempts are made for another while.
    Open {
        /// How long.
        retry_after: Duration,
    },
    /// One attempt finds out whether the vendor is well, or may do so.
    HalfOpen,
}

#[derive(Debug, Default)]
pub(crate) struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// Pauses since the last complete answer.
    pauses: u32,
    paused_until: Option<Instant>,
    is_probed: bool,
}

/// The right to make one attempt.
#[derive(Debug)]
pub(crate) struct Pass {
    breaker: Arc<Breaker>,
    is_probe: bool,
    /// The pauses at that time: of attempts that run together and fail together, one begins a pause.
    pauses: u32,
}

impl Breaker {
    /// Allows an attempt, or says how long to wait.
    pub(crate) fn admit(self: &Arc<Self>, now: Instant) -> Result<Pass, Duration> {
        let mut state = self.lock();
        let is_probe = match state.paused_until {
            None => false,
            Some(until) if now < until => return Err(until - now),
            Some(_) if state.is_probed => return Err(PROBE_WAIT),
            Some(_) => true,
        };
        state.is_probed |= is_probe;
        Ok(Pass {
            breaker: self.clone(),
            is_probe,
            pauses: state.pauses,
        })
    }

    pub(crate) fn state(&self, now: Instant) -> BreakerState {
        match self.lock().paused_until {
            None => BreakerState::Closed,
            Some(until) if now < until => BreakerState::Open {
                retry_after: until - now,
            },
            Some(_) => BreakerState::HalfOpen,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    /// The vendor answers: a probe ends the pause. Failures still count, because an answer that
    /// began may break off.
    pub(crate) fn answers(&mut self) {
        if std::mem::take(&mut self.is_probe) {
            let mut state = self.breaker.lock();
            state.is_probed = false;
            state.paused_until = None;
        }
    }

    /// The answer was complete.
    pub(crate) fn succeeded(mut self) {
        self.answers();
        let mut state = self.breaker.lock();
        state.failures = 0;
        state.pauses = 0;
    }

    /// The attempt failed by the vendor's fault. `asked` is how long it wants to be left alone.
    pub(crate) fn failed(mut self, now: Instant, asked: Option<Duration>) {
        let was_probe = std::mem::take(&mut self.is_probe);
        let mut state = self.breaker.lock();
        state.failures = state.failures.saturating_add(1);
        state.is_probed &= !was_probe;
        let mut pause = asked;
        let is_known = self.pauses != state.pauses;
        if was_probe || (state.failures >= MAX_FAILURES && !is_known) {
            let own = FIRST_PAUSE.saturating_mul(1 << state.pauses.min(8));
            state.pauses = state.pauses.saturating_add(1);
            pause = Some(own.max(asked.unwrap_or_default()));
        }
        if let Some(pause) = pause {
            let until = now + pause.min(LONGEST_PAUSE);
            state.paused_until = state.paused_until.max(Some(until));
        }
    }
}

impl Drop for Pass {
    /// A probe that was given up found out nothing: the next attempt is the probe.
    fn drop(&mut self) {
        if self.is_probe {
            self.breaker.lock().is_probed = false;
        }
    }
}

#[cfg(test)]
mod tests;
