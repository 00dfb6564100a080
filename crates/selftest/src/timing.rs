//! Times short functions on a device.

use std::time::Instant;

use candle_core::Device;
use farthing_model::ModelError;
use farthing_ops::Stopwatch;

/// Seconds of one call of `f`: the median of several runs, each of several calls if they are short.
pub(crate) fn seconds(
    device: &Device,
    f: impl Fn() -> Result<(), ModelError>,
) -> Result<f64, ModelError> {
    const RUNS: usize = 7;
    const RUN_SECONDS: f64 = 0.02;
    let time = |calls: usize| -> Result<f64, ModelError> {
        match device {
            Device::Cpu => {
                let started = Instant::now();
                (0..calls).try_for_each(|_| f())?;
                Ok(started.elapsed().as_secs_f64() / calls as f64)
            }
            _ => {
                let stopwatch = Stopwatch::new(device)?;
                stopwatch.start()?;
                (0..calls).try_for_each(|_| f())?;
                stopwatch.stop()?;
                Ok(stopwatch.seconds()? / calls as f64)
            }
        }
    };
    time(1)?;
    let calls = (RUN_SECONDS / time(1)?.max(1e-9)).clamp(1.0, 1000.0) as usize;
    let mut runs = (0..RUNS)
        .map(|_| time(calls))
        .collect::<Result<Vec<_>, _>>()?;
    runs.sort_by(f64::total_cmp);
    Ok(runs[RUNS / 2])
}
