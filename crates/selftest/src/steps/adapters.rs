//! Times decode steps with adapters.

use std::{fmt, sync::Arc};

use serde::Serialize;

use super::{ADAPTER_RANK, Model, StepSeconds};
use farthing_model::{ComputeType, LoraAdapter, ModelError};

/// Time of a decode step with adapters of rank 16 on every linear layer.
#[derive(Clone, Debug, Serialize)]
pub struct AdapterTime {
    /// Number of adapters. Every row uses one of them; 0 is the same step without adapters.
    pub adapters: usize,
    /// Rows of the step.
    pub rows: usize,
    /// Tokens in the cache of each row.
    pub context: usize,
    /// Time of the step.
    pub seconds: StepSeconds,
    /// Speed relative to the step without adapters.
    pub share_of_base: f64,
}

const HEADING: &str = "adapters in a decode step  device         host   of the base's speed";

impl fmt::Display for AdapterTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>3} in {:>3} rows × {:<6} {:>9.2} ms {:>9.2} ms {:>13.1} %",
            self.adapters,
            self.rows,
            self.context,
            self.seconds.best() * 1e3,
            self.seconds.host * 1e3,
            self.share_of_base * 100.0
        )
    }
}

impl Model<'_> {
    pub(super) fn adapters(
        &mut self,
        say: &mut dyn FnMut(String),
    ) -> Result<Vec<AdapterTime>, ModelError> {
        let rows = self.sizes.adapter_rows;
        let Some(context) = self.sizes.contexts.first().copied() else {
            return Ok(Vec::new());
        };
        if !self.fits(rows, context) {
            return Ok(Vec::new());
        }
        say(format!("\n{HEADING}"));
        let most = self.sizes.adapters.iter().copied().max().unwrap_or(0);
        let mut ids = Vec::with_capacity(most);
        for seed in 0..most {
            let adapter = LoraAdapter::dummy(
                &self.config,
                ADAPTER_RANK,
                seed as u8,
                ComputeType::Bf16,
                self.device,
            )?;
            ids.push(adapter.id());
            self.runner.add_adapter(Arc::new(adapter));
        }
        let base = self.time(&[self.decode_step(rows, context, &[])])?;
        let mut times = Vec::new();
        for &adapters in [0].iter().chain(self.sizes.adapters) {
            let seconds = match adapters {
                0 => base,
                _ => self.time(&[self.decode_step(rows, context, &ids[..adapters])])?,
            };
            let time = AdapterTime {
                adapters,
                rows,
                context,
                seconds,
                share_of_base: base.best() / seconds.best(),
            };
            say(time.to_string());
            times.push(time);
        }
        Ok(times)
    }
}
