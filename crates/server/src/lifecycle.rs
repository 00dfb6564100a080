//! The phases of a shutdown.

use tokio::sync::watch;

/// The phase of the server. It never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Requests are accepted.
    Serving,
    /// Running requests may end; new ones are refused.
    Draining,
    /// Running requests are cut off.
    CutOff,
}

/// The phase of the server, set by one task and watched by many. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Lifecycle {
    phase: watch::Sender<Phase>,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self {
            phase: watch::Sender::new(Phase::Serving),
        }
    }
}

impl Lifecycle {
    /// Starts the shutdown: running requests may end.
    pub(crate) fn drain(&self) {
        self.advance(Phase::Draining);
    }

    /// Cuts off running requests.
    pub(crate) fn cut_off(&self) {
        self.advance(Phase::CutOff);
    }

    pub(crate) fn is_serving(&self) -> bool {
        *self.phase.borrow() == Phase::Serving
    }

    /// Returns once [`drain`](Self::drain) was called.
    pub(crate) async fn draining(&self) {
        self.reached(Phase::Draining).await;
    }

    /// Returns once [`cut_off`](Self::cut_off) was called.
    pub(crate) async fn cutting_off(&self) {
        self.reached(Phase::CutOff).await;
    }

    fn advance(&self, to: Phase) {
        self.phase
            .send_if_modified(|phase| std::mem::replace(phase, to.max(*phase)) < to);
    }

    async fn reached(&self, phase: Phase) {
        let reached = self
            .phase
            .subscribe()
            .wait_for(|now| *now >= phase)
            .await
            .is_ok();
        // `self` holds the sender, so the channel is open.
        debug_assert!(reached);
    }
}
