//! How long an assignment takes beside rows.

use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::oneshot;

use crate::rows::{assignment, entry, open};

const PER_SECOND: u32 = 200;

/// Sorted times.
pub(crate) struct Took {
    pub assignments: Vec<Duration>,
    /// Of asking a thread that does nothing, at the same moments: what the machine's other load adds.
    pub echoes: Vec<Duration>,
}

/// Assigns on a schedule, whether or not the earlier assignments are done.
pub(crate) fn measure(path: &Path, seconds: u32) -> anyhow::Result<Took> {
    let ledger = open(path)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let (echo, asked) = mpsc::channel::<oneshot::Sender<()>>();
    let echoing = std::thread::spawn(move || {
        for answer in asked {
            // Nobody waits any more.
            let _ = answer.send(());
        }
    });
    let took = runtime.block_on(async {
        let mut clock = tokio::time::interval(Duration::from_secs(1) / PER_SECOND);
        let mut tasks = Vec::new();
        for number in 0..PER_SECOND * seconds {
            clock.tick().await;
            let (ledger, echo) = (ledger.clone(), echo.clone());
            tasks.push(tokio::spawn(async move {
                let began = Instant::now();
                let (answer, answered) = oneshot::channel();
                echo.send(answer)?;
                answered.await?;
                let echoed = began.elapsed();
                let began = Instant::now();
                ledger.assign(assignment(number, 1)).await?;
                let took = began.elapsed();
                if let Some(place) = ledger.place() {
                    place.record(entry(number, 1));
                }
                anyhow::Ok((took, echoed))
            }));
        }
        let mut took = Vec::new();
        for task in tasks {
            took.push(task.await.context("an assignment panicked")??);
        }
        anyhow::Ok(took)
    })?;
    drop(echo);
    let _ = echoing.join();
    ledger.close(Duration::from_secs(30))?;
    let (mut assignments, mut echoes): (Vec<_>, Vec<_>) = took.into_iter().unzip();
    assignments.sort_unstable();
    echoes.sort_unstable();
    Ok(Took {
        assignments,
        echoes,
    })
}
