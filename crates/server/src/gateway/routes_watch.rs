//! Reads the routes file again when it has changed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Gateway;
use super::in_force::InForce;
use crate::file_version::FileVersion;
use crate::served_models::ServedModels;

/// How often the file is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// A routes file and the gateway that follows it.
pub(crate) struct RoutesWatch {
    pub file: PathBuf,
    pub models: Arc<ServedModels>,
    pub gateway: Gateway,
}

impl RoutesWatch {
    /// Follows the file for ever. A file that cannot be used leaves the routes as they are.
    pub(crate) async fn run(self) {
        let mut seen = FileVersion::of(&self.file);
        let mut ticks = tokio::time::interval(EVERY);
        loop {
            ticks.tick().await;
            let now = FileVersion::of(&self.file);
            if now == seen {
                continue;
            }
            seen = now;
            match InForce::read(&self.file, &self.models, &self.gateway.in_force()) {
                Ok(in_force) => {
                    let routes = in_force.routes.len();
                    self.gateway.replace(in_force);
                    tracing::info!(routes, "read the routes file again");
                }
                Err(error) => tracing::error!("the routes stay as they were: {error:#}"),
            }
        }
    }
}
