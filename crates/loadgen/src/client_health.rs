//! Whether the client itself limited the load.

use std::fs;
use std::time::{Duration, Instant};

use farthing_economics::statistics::quantile;
use serde::Serialize;

use crate::record::Record;

/// Signs that the client cannot keep up.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ClientHealth {
    /// 99th percentile of how late requests were sent, in milliseconds. `None` if all requests
    /// waited for `max_concurrency`.
    pub send_lateness_p99_ms: Option<f64>,
    /// 99th percentile of how late timers of the client's event loop fired, in milliseconds.
    pub event_loop_lag_p99_ms: f64,
    /// Cores used by the client; `None` if the system does not report it.
    pub cpu_cores: Option<f64>,
    /// Cores of the machine.
    pub cores: usize,
}

/// Interval of the timers that measure the event loop's lag.
const TICK: Duration = Duration::from_millis(20);
/// Above this, the client affects the measurement. Timers have a resolution of about a millisecond.
const LATE_MS: f64 = 20.0;
/// Above this fraction of its machine, the client may be a bottleneck.
const BUSY_SHARE: f64 = 0.7;

/// Measures while a load runs.
#[derive(Debug)]
pub(crate) struct ClientWatch {
    began: Instant,
    cpu_seconds: Option<f64>,
    lags: Vec<f64>,
}

impl ClientWatch {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            cpu_seconds: cpu_seconds(),
            lags: Vec::new(),
        }
    }

    /// Measures the event loop's lag until dropped.
    pub(crate) async fn watch(&mut self) {
        loop {
            let due = Instant::now() + TICK;
            tokio::time::sleep_until(due.into()).await;
            self.lags.push(due.elapsed().as_secs_f64() * 1000.0);
        }
    }

    pub(crate) fn health(mut self, records: &[Record], waits_for_place: bool) -> ClientHealth {
        let seconds = self.began.elapsed().as_secs_f64();
        let cpu_seconds = self
            .cpu_seconds
            .zip(cpu_seconds())
            .map(|(before, after)| after - before);
        self.lags.sort_by(f64::total_cmp);
        let mut late: Vec<f64> = records
            .iter()
            .map(|record| (record.sent_at - record.due_at) * 1000.0)
            .collect();
        late.sort_by(f64::total_cmp);
        let has_lateness = !waits_for_place && !late.is_empty();
        ClientHealth {
            send_lateness_p99_ms: has_lateness.then(|| quantile(&late, 0.99)),
            event_loop_lag_p99_ms: match self.lags.as_slice() {
                [] => 0.0,
                lags => quantile(lags, 0.99),
            },
            cpu_cores: cpu_seconds.map(|cpu| cpu / seconds),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

impl ClientHealth {
    /// Warnings about the client.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(late) = self.send_lateness_p99_ms.filter(|late| *late > LATE_MS) {
            warnings.push(format!(
                "the client sent requests late (p99 {late:.0} ms): the server got less load than requested"
            ));
        }
        if self.event_loop_lag_p99_ms > LATE_MS {
            let lag = self.event_loop_lag_p99_ms;
            warnings.push(format!(
                "the client's event loop lagged (p99 {lag:.0} ms): latencies contain its own \
                 waiting; run it on a machine of its own"
            ));
        }
        let busy = self
            .cpu_cores
            .filter(|used| *used > BUSY_SHARE * self.cores as f64);
        if let Some(used) = busy {
            let cores = self.cores;
            warnings.push(format!(
                "the client took {used:.1} of {cores} cores: it may be the bottleneck"
            ));
        }
        warnings
    }
}

/// CPU seconds of this process so far, on Linux.
fn cpu_seconds() -> Option<f64> {
    /// The unit of /proc/self/stat, independent of the kernel's own timer frequency.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is a name in parentheses, which may contain anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests;
