//! Times steps in which every row computes one token.

use std::fmt;

use serde::Serialize;

use super::{Milliseconds, Model, StepSeconds};
use farthing_model::{ComputeType, MemoryPlan, ModelError};

/// Time of a decode step.
#[derive(Clone, Debug, Serialize)]
pub struct DecodeTime {
    /// Rows of the step.
    pub rows: usize,
    /// Tokens in the cache of each row.
    pub context: usize,
    /// `None` if the KV cache does not fit the device.
    pub seconds: Option<StepSeconds>,
    /// Minimum time: all weights and the whole cache read once, or all products computed.
    pub floor_seconds: f64,
}

const HEADING: &str =
    "decode step                device         host        floor    share    tokens/s";

impl fmt::Display for DecodeTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rows,
            context,
            seconds,
            floor_seconds,
        } = *self;
        let Some(seconds) = seconds else {
            return write!(f, "{rows:>4} rows × {context:<6} does not fit the device");
        };
        let times = Milliseconds {
            seconds,
            floor_seconds,
        };
        let per_second = rows as f64 / seconds.host;
        write!(
            f,
            "{rows:>4} rows × {context:<6} {times} {per_second:>11.0}"
        )
    }
}

impl Model<'_> {
    pub(super) fn decode(
        &mut self,
        say: &mut dyn FnMut(String),
    ) -> Result<Vec<DecodeTime>, ModelError> {
        say(format!("\n{HEADING}"));
        let mut times = Vec::new();
        for &context in self.sizes.contexts {
            for &rows in self.sizes.rows {
                let seconds = if self.fits(rows, context) {
                    Some(self.time(&[self.decode_step(rows, context, &[])])?)
                } else {
                    None
                };
                let time = DecodeTime {
                    rows,
                    context,
                    seconds,
                    floor_seconds: self.decode_floor(rows, context),
                };
                say(time.to_string());
                times.push(time);
            }
        }
        Ok(times)
    }

    /// `max(weight bytes / bandwidth, 2 · parameters · rows / FLOP/s) + rows · context · bytes per
    /// token / bandwidth`. Of the input embedding only one row per token is read.
    fn decode_floor(&self, rows: usize, context: usize) -> f64 {
        let parameters = (self.layer_parameters() + self.head_parameters()) as f64;
        let limits = self.limits;
        let weights = limits.least_seconds(2.0 * parameters, 2.0 * parameters * rows as f64);
        let cached = MemoryPlan::kv_cache_bytes_for(&self.config, ComputeType::Bf16, context);
        weights + (rows * cached) as f64 / limits.bytes_per_second
    }
}
