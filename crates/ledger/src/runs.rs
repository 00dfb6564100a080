//! The runs (server processes) in a ledger.

use std::collections::BTreeMap;
use std::time::Duration;

use farthing_economics::HourlyPrice;

use crate::store::Store;
use crate::window::MICROS;
use crate::writer::now_us;
use crate::{LedgerError, Window};

/// All runs by id.
#[derive(Default)]
pub(crate) struct Runs(BTreeMap<i64, RunState>);

struct RunState {
    price: Option<HourlyPrice>,
    heartbeat_us: i64,
    is_closed: bool,
}

/// A run without a flush for this long that was not closed counts as killed. It flushes every
/// second, and retries at least every 5 seconds.
const SILENCE: Duration = Duration::from_secs(60);

impl Runs {
    pub(crate) fn load(store: &mut dyn Store) -> Result<Self, LedgerError> {
        let mut runs = BTreeMap::new();
        let sql = "SELECT id, heartbeat_us, \
                   CAST(CASE WHEN closed_us IS NULL THEN 0 ELSE 1 END AS BIGINT), \
                   CAST(price_per_hour_usd AS TEXT) FROM runs";
        store.query(sql, &[], &mut |row| {
            let price = row.text(3)?.map(|price| price.parse::<HourlyPrice>());
            let price = price.transpose();
            let price = price.map_err(|error| LedgerError::Corrupt(error.to_string()))?;
            let state = RunState {
                price,
                heartbeat_us: row.integer(1)?,
                is_closed: row.integer(2)? == 1,
            };
            runs.insert(row.integer(0)?, state);
            Ok(())
        })?;
        Ok(Self(runs))
    }

    pub(crate) fn price(&self, run: i64) -> Option<HourlyPrice> {
        self.0.get(&run)?.price
    }

    /// Whether the run was killed within the window.
    pub(crate) fn was_killed_in(&self, run: i64, window: Window) -> bool {
        let now_us = now_us();
        self.0.get(&run).is_some_and(|run| {
            let silent = now_us - run.heartbeat_us > SILENCE.as_micros() as i64;
            let second = run.heartbeat_us / MICROS;
            !run.is_closed && silent && (window.start()..window.end()).contains(&second)
        })
    }
}
