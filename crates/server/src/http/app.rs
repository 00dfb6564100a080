//! The state that all routes share.

use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::FromRef;

use super::admin_key::AdminKey;
use crate::access::{Access, CallerKeys};
use crate::costs::{Costs, CostsConfig};
use crate::gateway::{Gateway, InForce, OwnServer, RoutesWatch};
use crate::http::json_body::BodyLimits;
use crate::http::whole_answer::WholeAnswers;
use crate::lanes::Lanes;
use crate::lifecycle::Lifecycle;
use crate::machine::Machine;
use crate::metrics::Metrics;
use crate::request::backend::Backend;
use crate::request::bookkeeper::Bookkeeper;
use crate::request::provider::Provider;
use crate::request::record::Books;
use crate::served_models::ServedModels;

/// The provider, the books and the state of the server. Cheap to clone.
#[derive(Clone)]
pub struct App {
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) models: Arc<ServedModels>,
    /// `None` if another process computes.
    pub(crate) engine: Option<Arc<dyn Backend>>,
    pub(crate) books: Books,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) access: Access,
    pub(crate) machine: Option<Arc<Machine>>,
    pub(crate) body_limits: BodyLimits,
    pub(crate) whole_answers: WholeAnswers,
    pub(crate) gateway: Gateway,
}

impl FromRef<App> for BodyLimits {
    fn from_ref(app: &App) -> Self {
        app.body_limits.clone()
    }
}

/// What an [`App`] consists of.
pub struct AppConfig {
    /// Answers the requests.
    pub provider: Arc<dyn Provider>,
    /// The names that requests may use.
    pub models: Arc<ServedModels>,
    /// The engine whose time and tokens are metered; `None` if another process computes.
    pub engine: Option<Arc<dyn Backend>>,
    /// What costs depend on.
    pub costs: CostsConfig,
    /// Turns for large bodies and answers; a provider that works on texts shares them.
    pub lanes: Lanes,
}

impl App {
    /// Without keys, a ledger or a description of the machine.
    pub fn new(config: AppConfig) -> Self {
        let costs = Costs::new(config.engine.clone(), config.costs);
        let metrics = Metrics::new(config.models.metrics_name().to_owned());
        Self {
            provider: config.provider,
            models: config.models,
            engine: config.engine,
            books: Books {
                metrics: Arc::new(metrics),
                costs: Arc::new(costs),
                bookkeeper: None,
            },
            lifecycle: Lifecycle::default(),
            access: Access::default(),
            machine: None,
            body_limits: BodyLimits::new(config.lanes.clone()),
            whole_answers: WholeAnswers::new(config.lanes),
            gateway: Gateway::default(),
        }
    }

    /// Lets requests with the key load and unload adapters. Without a key no request may.
    pub fn with_admin_key(mut self, key: AdminKey) -> Self {
        self.access.admin_key = Some(Arc::new(key));
        self
    }

    /// Admits only callers with one of these keys, and lets only the operator read what all of them do.
    pub fn with_keys(mut self, keys: Arc<CallerKeys>) -> Self {
        self.access.keys = Some(keys);
        self
    }

    /// Describes the machine on the page and in `GET /v1/costs/now`.
    pub fn with_machine(self, machine: Machine) -> Self {
        Self {
            machine: Some(Arc::new(machine)),
            ..self
        }
    }

    /// Answers requests whose model is a route of `toml`, the text of a routes file.
    ///
    /// # Errors
    /// The text cannot be used. The message names the key.
    pub fn with_routes(self, toml: &str) -> anyhow::Result<Self> {
        let in_force = InForce::parse(toml, &self.models, &InForce::default())?;
        let gateway = Gateway::new(in_force);
        Ok(Self { gateway, ..self })
    }

    /// Answers requests whose model is a route of a file, and follows the file. What each vendor was paid
    /// today is read from the ledger.
    pub(crate) async fn with_routes_file(
        self,
        file: PathBuf,
    ) -> anyhow::Result<(Self, RoutesWatch)> {
        let in_force = InForce::read(&file, &self.models, &InForce::default())?;
        if let Some(bookkeeper) = &self.books.bookkeeper {
            in_force.count_spent(bookkeeper).await?;
        }
        let gateway = Gateway::new(in_force);
        let watch = RoutesWatch {
            file,
            models: self.models.clone(),
            gateway: gateway.clone(),
        };
        Ok((Self { gateway, ..self }, watch))
    }

    /// What a routed request needs of this server.
    pub(crate) fn own_server(&self) -> OwnServer {
        OwnServer {
            provider: self.provider.clone(),
            models: self.models.clone(),
            books: self.books.clone(),
            lifecycle: self.lifecycle.clone(),
        }
    }

    /// Records every request from now on.
    pub fn with_ledger(mut self, bookkeeper: Bookkeeper) -> Self {
        self.books.bookkeeper = Some(bookkeeper);
        self
    }
}
