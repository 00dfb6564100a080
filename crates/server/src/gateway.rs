//! Requests whose model is a route: which arm answers, and what happens if it fails.

mod attempt;
mod checked_answer;
mod experiments;
mod failure;
mod in_force;
mod judgement;
mod own_server;
mod pairs;
mod routed_chat;
mod routes_watch;
mod shadow;
mod situation;
mod vendor_events;
mod vendor_record;
mod whole_texts;

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::request::bookkeeper::Bookkeeper;

pub(crate) use experiments::{Rollbacks, report};
pub(crate) use in_force::InForce;
pub(crate) use own_server::OwnServer;
pub(crate) use pairs::Pairs;
pub(crate) use routed_chat::{ChatCall, RoutedChat};
pub(crate) use routes_watch::RoutesWatch;
pub(crate) use shadow::Shadows;

/// The routes and vendors of a server. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Gateway {
    in_force: Arc<ArcSwap<InForce>>,
    shadows: Arc<Shadows>,
    pairs: Arc<Pairs>,
    rollbacks: Arc<Rollbacks>,
}

impl Gateway {
    pub(crate) fn new(in_force: InForce) -> Self {
        Self {
            in_force: Arc::new(ArcSwap::from_pointee(in_force)),
            shadows: Arc::default(),
            pairs: Arc::default(),
            rollbacks: Arc::default(),
        }
    }

    /// What requests that begin now use.
    pub(crate) fn in_force(&self) -> Arc<InForce> {
        self.in_force.load_full()
    }

    /// Changes what requests use that begin from now on. Others keep what they began with.
    pub(crate) fn replace(&self, in_force: InForce) {
        self.in_force.store(Arc::new(in_force));
    }

    /// The arms that guardrails took out of the assignment.
    pub(crate) fn rollbacks(&self) -> &Arc<Rollbacks> {
        &self.rollbacks
    }

    /// Watches the guardrails of all experiments for ever.
    pub(crate) async fn watch_guardrails(self, bookkeeper: Bookkeeper) {
        let gateway = self.clone();
        let in_force = move || gateway.in_force();
        experiments::watch(bookkeeper, in_force, self.rollbacks).await;
    }

    /// The pairs of answers that people may compare.
    pub(crate) fn pairs(&self) -> &Arc<Pairs> {
        &self.pairs
    }

    /// The shadows of all routes.
    pub(crate) fn shadows(&self) -> &Arc<Shadows> {
        &self.shadows
    }
}
