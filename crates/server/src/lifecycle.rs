//! How far the server is on its way out.

use tokio::sync::watch;

/// Where the server stands; it only ever goes on to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Requests are taken.
    Serving,
    /// What runs may end, nothing begins.
    Draining,
    /// What still runs is cut off.
    CutOff,
}

/// The server's phase, told by one and watched by many. Cheap to clone.
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
    /// Lets what runs end.
    pub(crate) fn drain(&self) {
        self.advance(Phase::Draining);
    }

    /// Ends what runs.
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
