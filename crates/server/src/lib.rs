//! Opens the door: HTTP routes over an engine. The binary `farthing` wires it to a model.

mod serve;

mod app;
mod error;
mod json_body;
mod routes;
mod sse;

mod answer;
mod backend;
mod local;
mod record;
mod served_models;

mod lifecycle;
mod metrics;
mod random;

pub use app::App;
pub use backend::{Backend, Events};
pub use error::ApiError;
pub use local::Local;
pub use routes::router;
pub use serve::serve;
pub use served_models::{ServedAdapter, ServedModels};
