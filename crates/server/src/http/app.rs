//! What all routes share.

use std::sync::Arc;

use farthing_engine::GenerationRequest;
use farthing_scheduler::SamplingParams;
use futures_util::StreamExt;

use crate::costs::Costs;
use crate::http::admin_key::AdminKey;
use crate::lifecycle::Lifecycle;
use crate::machine::Machine;
use crate::metrics::Metrics;
use crate::request::bookkeeper::Bookkeeper;
use crate::request::local::{Escort, Local};

/// The served model, its counters and the server's phase. Cheap to clone.
#[derive(Clone)]
pub struct App {
    pub(crate) local: Local,
    pub(crate) escort: Escort,
    pub(crate) admin_key: Option<Arc<AdminKey>>,
    pub(crate) machine: Option<Arc<Machine>>,
}

impl App {
    /// Serves what `local` answers.
    pub fn new(local: Local) -> Self {
        let costs = Costs::new(
            local.backend.clone(),
            local.price,
            local.slo_tokens_per_second,
        );
        let metrics = Metrics::new(local.models.metrics_name().to_owned(), costs);
        let escort = Escort {
            metrics: Arc::new(metrics),
            lifecycle: Lifecycle::default(),
            bookkeeper: None,
        };
        Self {
            local,
            escort,
            admin_key: None,
            machine: None,
        }
    }

    /// Lets those who have the key change what is served; without one nobody may.
    pub fn with_admin_key(self, key: AdminKey) -> Self {
        Self {
            admin_key: Some(Arc::new(key)),
            ..self
        }
    }

    /// Tells what it runs on.
    pub fn with_machine(self, machine: Machine) -> Self {
        Self {
            machine: Some(Arc::new(machine)),
            ..self
        }
    }

    /// Keeps a row of every request from now on.
    pub fn with_ledger(mut self, bookkeeper: Bookkeeper) -> Self {
        self.escort.bookkeeper = Some(bookkeeper);
        self
    }

    /// Generates one token, so that "ready" is proven and the first caller does not pay for cold
    /// caches.
    ///
    /// # Errors
    /// The engine's own words.
    pub async fn warm_up(&self) -> anyhow::Result<()> {
        let request = GenerationRequest {
            prompt: vec![0],
            adapter: None,
            n: 1,
            sampling: SamplingParams {
                temperature: 0.0,
                ..SamplingParams::default()
            },
            max_tokens: Some(1),
            stop: Vec::new(),
            ignore_eos: true,
            prompt_logprobs: None,
            continues_text: true,
            receipts: None,
        };
        let mut events = self.local.backend.submit(request)?;
        while let Some(event) = events.next().await {
            if let farthing_engine::GenerationEvent::Failed { message } = event {
                anyhow::bail!("the model could not generate a token: {message}");
            }
        }
        self.local.backend.end_warm_up();
        Ok(())
    }

    /// Keeps the engine's figures, for costs over the last minutes.
    pub(crate) fn sample_costs(&self) {
        self.escort.metrics.costs().sample();
    }

    pub(crate) fn lifecycle(&self) -> &Lifecycle {
        &self.escort.lifecycle
    }
}
