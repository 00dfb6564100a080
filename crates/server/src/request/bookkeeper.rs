//! Access to the ledger.

use std::sync::Arc;
use std::time::Duration;

use farthing_economics::HourlyPrice;
use farthing_engine::EngineStats;
use farthing_ledger::{
    DeviceSeconds, Ledger, LedgerConfig, LedgerError, LedgerStatus, Location, Place,
};

use crate::clock::unix_microseconds;
use crate::http::error::ApiError;
use crate::request::backend::Backend;

/// Reserves a place in the ledger for each request before it begins. Cheap to clone.
#[derive(Clone)]
pub struct Bookkeeper {
    ledger: Ledger,
    location: Location,
}

impl Bookkeeper {
    /// Opens the ledger at `location` for a process that serves `model`.
    ///
    /// # Errors
    /// The ledger cannot be opened.
    pub fn open(
        location: Location,
        model: String,
        price: Option<HourlyPrice>,
        backend: Arc<dyn Backend>,
    ) -> Result<Self, LedgerError> {
        let up = backend.stats().seconds.window;
        let config = LedgerConfig {
            location: location.clone(),
            model,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            price,
            started_us: unix_microseconds() - (up * 1e6) as i64,
        };
        let ledger = Ledger::open(config, move || device_seconds(&backend.stats()))?;
        Ok(Self { ledger, location })
    }

    pub(crate) fn location(&self) -> &Location {
        &self.location
    }

    pub(crate) fn status(&self) -> LedgerStatus {
        self.ledger.status()
    }

    /// Whether there is no place for another request.
    pub(crate) fn is_full(&self) -> bool {
        let status = self.ledger.status();
        status.places_taken >= status.places
    }

    /// Reserves the place of a request's row.
    pub(crate) fn place(&self) -> Result<Place, ApiError> {
        self.ledger.place().ok_or(ApiError::LedgerFull)
    }

    /// Writes the remaining rows and closes the ledger, within `patience`. This blocks.
    ///
    /// # Errors
    /// Some rows were not written. They are in the log.
    pub fn close(&self, patience: Duration) -> Result<(), LedgerError> {
        self.ledger.close(patience)
    }
}

fn device_seconds(engine: &EngineStats) -> DeviceSeconds {
    let seconds = engine.seconds;
    DeviceSeconds {
        window: seconds.window,
        steps: seconds.steps,
        idle: seconds.idle,
        host: seconds.host,
        warm_up: seconds.warm_up,
        adapter_load: seconds.adapter_load,
    }
}
