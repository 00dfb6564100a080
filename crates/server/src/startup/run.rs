//! Runs the server from start to shutdown.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use farthing_economics::HourlyPrice;
use farthing_engine::EngineHandle;
use farthing_ledger::{Filter, GroupBy, Ledger, LedgerReader, Location, Window};
use farthing_model::use_simd_level;
use tokio::sync::oneshot;

use crate::access::{CallerKeys, KeyWatch};
use crate::cli::args::ServeArgs;
use crate::clock::unix_seconds;
use crate::costs::CostsConfig;
use crate::http::app::{App, AppConfig};
use crate::http::serve::{Timeouts, serve};
use crate::log;
use crate::machine::Machine;
use crate::request::bookkeeper::Bookkeeper;
use crate::request::local::Local;
use crate::startup::banner::Banner;
use crate::startup::config::{Config, Price};
use crate::startup::start::{Started, start};
use crate::startup::step_model_cache::StepModelKeeper;

/// The time limit for the head of a request, and for its body.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// How long shutdown waits for the engine thread.
const LAST_STEP: Duration = Duration::from_secs(10);

/// How often a learned step model is saved.
const KEEP_EVERY: Duration = Duration::from_secs(30);

const SECONDS_PER_DAY: i64 = 86_400;

/// How long shutdown waits for rows to be written to the ledger.
const LEDGER_PATIENCE: Duration = Duration::from_secs(10);

/// Loads a model and serves it until a signal arrives.
///
/// # Errors
/// The server cannot start, or the engine ended. The message says what to do.
#[tokio::main]
pub async fn run(args: ServeArgs) -> anyhow::Result<()> {
    let process_began = Instant::now();
    if let Some(level) = args.simd_level {
        use_simd_level(level)?;
    }
    let config = Config::try_from(args)?;
    // Bind first: "address in use" should not come after a long load.
    let listener = bind(config.http.address)?;
    let (price, http) = (config.price, config.http.clone());
    let ledger = config.ledger.clone();
    let slo_tokens_per_second = config.slo_tokens_per_second;
    let device = config.model.device;
    let location = ledger.clone();
    let keys = http.keys.as_ref();
    let keys = keys.map(|file| CallerKeys::open(file, price.per_hour()));
    let keys = keys.transpose()?.map(Arc::new);
    let started = tokio::task::spawn_blocking(move || {
        // The same holds for a ledger that cannot be opened.
        location.as_ref().map(Ledger::check).transpose()?;
        start(&config, process_began, &|line| {
            log::print(format_args!("{line}\n"))
        })
    });
    let started = started.await.context("loading the model")??;
    let config = AppConfig {
        provider: Arc::new(started.local.clone()),
        models: started.local.models.clone(),
        engine: Some(started.local.backend.clone()),
        costs: CostsConfig {
            price: price.per_hour(),
            slo_tokens_per_second,
            tokenizer: started.tokenizer,
        },
    };
    let mut app = App::new(config).with_machine(Machine {
        device: device.describe(),
        memory: started.memory,
        price_is_example: matches!(price, Price::Example(_)),
    });
    if let Some(key) = http.admin_key {
        app = app.with_admin_key(key);
    }
    if let Some(keys) = &keys {
        app = app.with_keys(keys.clone());
    }
    started.local.warm_up().await?;
    let bookkeeper = match ledger.clone() {
        Some(location) => Some(open_ledger(location, price.per_hour(), &started.local).await?),
        None => None,
    };
    let app = match bookkeeper.clone() {
        Some(bookkeeper) => app.with_ledger(bookkeeper),
        None => app,
    };

    if let (Some(keys), Some(location)) = (&keys, ledger.clone()) {
        let keys = keys.clone();
        tokio::task::spawn_blocking(move || count_spent(&keys, &location)).await??;
    }

    let address = listener.local_addr()?;
    log::print(Banner {
        started: &started,
        device,
        price,
        ledger: ledger.as_ref(),
        address,
    });
    let Started {
        engine,
        engine_thread,
        local,
        step_model_keeper,
        ..
    } = started;
    drop(local);
    let watching = keys.zip(http.keys).map(|(keys, file)| {
        let price = price.per_hour();
        tokio::spawn(KeyWatch { file, price, keys }.run())
    });
    let sampling = tokio::spawn(sample_costs(app.clone()));
    let keeping = tokio::spawn(keep_step_model(engine.clone(), step_model_keeper));
    let timeouts = Timeouts {
        read: READ_TIMEOUT,
        shutdown: http.shutdown_timeout,
    };
    let listener = tokio::net::TcpListener::from_std(listener)?;
    serve(listener, app, stop_signal(engine.clone()), timeouts).await;
    for task in [sampling, keeping].into_iter().chain(watching) {
        task.abort();
        // A cancelled task drops its engine handle.
        let _ = task.await;
    }
    if let Some(bookkeeper) = bookkeeper {
        tokio::task::spawn_blocking(move || bookkeeper.close(LEDGER_PATIENCE)).await??;
    }
    if !engine.is_alive() {
        bail!("the engine thread has ended: see the log above");
    }
    // The engine thread ends after its current step when the last handle is dropped.
    drop(engine);
    match end_of(engine_thread).await {
        Some(Ok(())) => {}
        Some(Err(_)) => bail!("the engine thread has panicked: see the log above"),
        None => tracing::warn!("the engine thread is still in a step: not waiting for it"),
    }
    Ok(())
}

async fn open_ledger(
    location: Location,
    price: Option<HourlyPrice>,
    local: &Local,
) -> anyhow::Result<Bookkeeper> {
    let model = local.models.metrics_name().to_owned();
    let backend = local.backend.clone();
    let open = move || Bookkeeper::open(location, model, price, backend);
    Ok(tokio::task::spawn_blocking(open).await??)
}

/// Counts what each key has spent today, so that a restart does not fill its budget again.
fn count_spent(keys: &CallerKeys, ledger: &Location) -> anyhow::Result<()> {
    let now = unix_seconds() as i64;
    let today = Window::new(now - now % SECONDS_PER_DAY, now + 1)?;
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

/// Samples costs every second, also when nobody requests them.
async fn sample_costs(app: App) {
    let mut every_second = tokio::time::interval(Duration::from_secs(1));
    loop {
        every_second.tick().await;
        app.books.costs.sample();
    }
}

/// Saves the step model that the engine learns.
async fn keep_step_model(engine: EngineHandle, mut keeper: StepModelKeeper) {
    let mut ticks = tokio::time::interval(KEEP_EVERY);
    loop {
        ticks.tick().await;
        let step_model = engine.stats().step_model;
        let kept = tokio::task::spawn_blocking(move || {
            keeper.keep(step_model);
            keeper
        });
        let Ok(back) = kept.await else {
            return;
        };
        keeper = back;
    }
}

/// Joins the engine thread; `None` if that takes too long. The join runs on a plain thread because
/// the runtime would wait for one of its own.
async fn end_of(engine_thread: JoinHandle<()>) -> Option<thread::Result<()>> {
    let (sender, receiver) = oneshot::channel();
    thread::spawn(move || sender.send(engine_thread.join()));
    tokio::time::timeout(LAST_STEP, receiver).await.ok()?.ok()
}

fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).with_context(|| {
        format!("cannot listen on {address}: choose another with --host and --port")
    })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Completes when the process gets a signal, or when the engine has ended: a server without an
/// engine must not keep running.
async fn stop_signal(engine: EngineHandle) {
    let why = tokio::select! {
        () = interrupt() => "interrupted",
        () = terminate() => "asked to terminate",
        () = engine.closed() => "the engine has ended",
    };
    tracing::info!(why, "shutting down");
}

async fn interrupt() {
    if let Err(error) = tokio::signal::ctrl_c().await {
        tracing::warn!("cannot wait for SIGINT: {error}");
        std::future::pending().await
    }
}

#[cfg(unix)]
async fn terminate() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        Err(error) => {
            tracing::warn!("cannot wait for SIGTERM: {error}");
            std::future::pending().await
        }
    }
}

#[cfg(not(unix))]
async fn terminate() {
    std::future::pending().await
}
