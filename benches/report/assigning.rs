//! How long an assignment takes beside rows.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::rows::{assignment, entry, open};

const PER_SECOND: u32 = 200;

/// The times of all assignments, sorted. They come on a schedule, whether or not the earlier ones are
/// done.
pub(crate) fn measure(path: &Path, seconds: u32) -> anyhow::Result<Vec<Duration>> {
    let ledger = open(path)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let took = runtime.block_on(async {
        let mut clock = tokio::time::interval(Duration::from_secs(1) / PER_SECOND);
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
        let mut tasks = Vec::new();
        for number in 0..PER_SECOND * seconds {
            clock.tick().await;
            let ledger = ledger.clone();
            tasks.push(tokio::spawn(async move {
                let began = Instant::now();
                ledger.assign(assignment(number, 1)).await?;
                let took = began.elapsed();
                if let Some(place) = ledger.place() {
                    place.record(entry(number, 1));
                }
                anyhow::Ok(took)
            }));
        }
        let mut took = Vec::new();
        for task in tasks {
            took.push(task.await.context("an assignment panicked")??);
        }
        took.sort_unstable();
        anyhow::Ok(took)
    })?;
    ledger.close(Duration::from_secs(30))?;
    Ok(took)
}
