//! The ledger of a server that starts.

use std::sync::Arc;

use farthing_ledger::{Filter, GroupBy, LedgerReader, Location};

use super::config::Config;
use crate::access::CallerKeys;
use crate::clock::SECONDS_PER_DAY;
use crate::request::bookkeeper::{self, Bookkeeper};
use crate::request::local::Local;

/// Opens the ledger, if there is one, and counts what the keys have spent.
pub(super) async fn open(
    config: &Config,
    local: &Local,
    keys: Option<Arc<CallerKeys>>,
) -> anyhow::Result<Option<Bookkeeper>> {
    let Some(location) = config.ledger.clone() else {
        return Ok(None);
    };
    let price = config.price.per_hour();
    let model = local.models.metrics_name().to_owned();
    let backend = local.backend.clone();
    let open = move || {
        let bookkeeper = Bookkeeper::open(location.clone(), model, price, backend)?;
        if let Some(keys) = keys {
            count_spent(&keys, &location)?;
        }
        anyhow::Ok(bookkeeper)
    };
    tokio::task::spawn_blocking(open).await?.map(Some)
}

/// Counts what each key has spent today, so that a restart does not fill its budget again.
fn count_spent(keys: &CallerKeys, ledger: &Location) -> anyhow::Result<()> {
    let today = bookkeeper::today()?;
    let by_key = GroupBy {
        api_key: true,
        ..GroupBy::default()
    };
    let usage =
        LedgerReader::open(ledger)?.usage(today, SECONDS_PER_DAY, by_key, &Filter::default());
    for ((key, _), usage) in usage?.into_values().flatten() {
        if let Some(name) = key.api_key {
            keys.count_spent(&name, usage.device.time.as_secs_f64());
        }
    }
    Ok(())
}
