//! What a routed request needs of the rest of the server.

use std::sync::Arc;

use crate::lifecycle::Lifecycle;
use crate::request::provider::Provider;
use crate::request::record::Books;
use crate::served_models::ServedModels;

/// This server's own provider, models and books. Cheap to clone.
#[derive(Clone)]
pub(crate) struct OwnServer {
    pub provider: Arc<dyn Provider>,
    pub models: Arc<ServedModels>,
    pub books: Books,
    pub lifecycle: Lifecycle,
}
