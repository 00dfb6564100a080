//! Runs the server from start to shutdown.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use farthing_ledger::Ledger;
use farthing_model::use_simd_level;

use super::banner::Banner;
use super::books;
use super::config::Config;
use super::reserved::Reserved;
use super::serving::Serving;
use super::signals::Signals;
use super::start::{Started, start};
use crate::cli::args::ServeArgs;
use crate::log;
use crate::reload::Reload;
use crate::request::bookkeeper::Bookkeeper;

/// How long the end waits for rows after a second signal.
const LAST_ROWS: Duration = Duration::from_millis(500);

/// Loads a model and serves it until a signal arrives. The first signal lets running answers end; the
/// second one ends the process with the status that shells give to it.
///
/// # Errors
/// The server cannot start, or the engine ended. The message says what to do.
pub fn run(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let ended = runtime.block_on(async {
        let reload = Reload::default();
        let signals = Signals::listen(reload.clone()).context("cannot receive signals")?;
        run_until(&signals, reload, args).await
    });
    // A download, or a database that does not answer, cannot hold up the end.
    runtime.shutdown_background();
    ended
}

async fn run_until(signals: &Signals, reload: Reload, args: ServeArgs) -> anyhow::Result<ExitCode> {
    let process_began = Instant::now();
    if let Some(level) = args.simd_level {
        use_simd_level(level)?;
    }
    let config = Config::try_from(args)?;
    let reserved = Reserved::take(&config)?;
    let started = tokio::select! {
        started = load(config.clone(), process_began) => started?,
        signal = signals.first() => return Ok(signal.exit_code()),
    };
    started.local.warm_up().await?;
    let bookkeeper = books::open(&config, &started.local, reserved.keys.clone()).await?;
    let banner = Banner {
        config: &config,
        started: &started,
        is_encrypted: reserved.tls.is_some(),
        address: reserved.listener.local_addr()?,
    };
    log::print(&banner.lines());
    let serving = Serving::new(config, reserved, &started, bookkeeper.clone(), reload).await?;
    tokio::select! {
        ended = serving.run(started, signals) => ended.map(|()| ExitCode::SUCCESS),
        signal = signals.second() => {
            tracing::warn!(signal = signal.name(), "ending at once");
            if let Some(bookkeeper) = bookkeeper {
                save_last_rows(bookkeeper).await;
            }
            Ok(signal.exit_code())
        }
    }
}

/// Loads the model, after a look at the ledger: it would be in vain if that cannot be opened.
async fn load(config: Config, process_began: Instant) -> anyhow::Result<Started> {
    let loading = tokio::task::spawn_blocking(move || {
        config.ledger.as_ref().map(Ledger::check).transpose()?;
        start(&config, process_began, &log::print_progress)
    });
    loading.await.context("loading the model")?
}

/// Writes the rows of the requests that a second signal has cut off, or logs them.
async fn save_last_rows(bookkeeper: Bookkeeper) {
    let closing = bookkeeper.clone();
    let closing = tokio::task::spawn_blocking(move || closing.close(LAST_ROWS));
    if let Ok(Ok(Err(error))) = tokio::time::timeout(2 * LAST_ROWS, closing).await {
        tracing::error!("{error}");
    }
    let rows = bookkeeper.status().places_taken;
    if rows > 0 {
        tracing::error!(
            rows,
            "the process ends before these requests are in the ledger"
        );
    }
}
