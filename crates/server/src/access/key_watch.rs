//! Reads the key file again when it has changed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use farthing_economics::HourlyPrice;
use farthing_keys::{Key, KeyFile};

use super::CallerKeys;
use crate::file_version::FileVersion;

/// How often the file is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// A key file and the server's keys that follow it.
pub(crate) struct KeyWatch {
    pub file: KeyFile,
    pub price: Option<HourlyPrice>,
    pub keys: Arc<CallerKeys>,
}

impl KeyWatch {
    /// Follows the file for ever. A file that cannot be used leaves the keys as they are.
    pub(crate) async fn run(self) {
        let mut seen = FileVersion::of(self.file.path());
        let mut ticks = tokio::time::interval(EVERY);
        loop {
            ticks.tick().await;
            self.keys.tick();
            let now = FileVersion::of(self.file.path());
            if now == seen {
                continue;
            }
            seen = now;
            match read(&self.file, self.price) {
                Ok(keys) => {
                    tracing::info!(keys = keys.len(), "read the key file again");
                    self.keys.ring.replace(keys);
                }
                Err(error) => {
                    tracing::error!("the keys stay as they were: {error:#}");
                }
            }
        }
    }
}

/// The keys of the file.
pub(super) fn read(file: &KeyFile, price: Option<HourlyPrice>) -> anyhow::Result<Vec<Key>> {
    let keys = file
        .read()
        .context("the key file cannot be used: make one with `farthing keys add`")?;
    let capped = keys.iter().find(|key| key.terms.usd_per_day.is_some());
    if let Some(key) = capped {
        ensure!(
            price.is_some(),
            "the key {:?} has a cap in dollars, but the price of this machine is unknown: give the \
             server its price per hour",
            key.name
        );
    }
    Ok(keys)
}
