//! Runs the server from start to shutdown.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use farthing_economics::HourlyPrice;
use farthing_engine::EngineHandle;
use farthing_ledger::{Filter, GroupBy, Ledger, LedgerReader, Location, Window};
use farthing_model::use_simd_level;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::access::{CallerKeys, KeyWatch};
use crate::cli::args::ServeArgs;
use crate::clock::unix_seconds;
use crate::costs::CostsConfig;
use crate::http::app::{App, AppConfig};
use crate::http::serve::{ServeConfig, serve};
use crate::http::timeouts::Timeouts;
use crate::log;
use crate::machine::Machine;
use crate::reload::Reload;
use crate::request::bookkeeper::Bookkeeper;
use crate::request::local::Local;
use crate::startup::banner::Banner;
use crate::startup::config::{Config, Price};
use crate::startup::open_files;
use crate::startup::signals::Signals;
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

/// The time limit for a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a peer may read nothing while there is something to write.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

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
    let max_connections = open_files::max_connections();
    // Bind first: "address in use" should not come after a long load.
    let listener = bind(config.http.address)?;
    let (price, http) = (config.price, config.http.clone());
    // The same holds for a certificate that cannot be used.
    let tls = http.tls.clone().map(|files| files.open()).transpose()?;
    let ledger = config.ledger.clone();
    let slo_tokens_per_second = config.slo_tokens_per_second;
    let device = config.model.device;
    let location = ledger.clone();
    let keys = http.keys.as_ref();
    let keys = keys.map(|file| CallerKeys::open(file, price.per_hour()));
    let keys = keys.transpose()?.map(Arc::new);
    let starting = tokio::task::spawn_blocking(move || {
        // And for a ledger that cannot be opened.
        location.as_ref().map(Ledger::check).transpose()?;
        start(&config, process_began, &log::print_progress)
    });
    let started = tokio::select! {
        started = starting => started.context("loading the model")??,
        signal = signals.first() => return Ok(signal.exit_code()),
    };
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

    let banner = Banner {
        started: &started,
        device,
        price,
        ledger: ledger.as_ref(),
        keys: http.keys.as_ref(),
        scheme: if tls.is_some() { "https" } else { "http" },
        address: listener.local_addr()?,
    };
    log::print(&banner.lines());
    let serving = Serving {
        listener,
        app,
        bookkeeper: bookkeeper.clone(),
        reload,
        key_watch: keys.zip(http.keys).map(|(keys, file)| KeyWatch {
            file,
            price: price.per_hour(),
            keys,
        }),
        config: ServeConfig {
            timeouts: Timeouts {
                handshake: HANDSHAKE_TIMEOUT,
                read: READ_TIMEOUT,
                write: WRITE_TIMEOUT,
                shutdown: http.shutdown_timeout,
            },
            max_connections,
            allowed_hosts: http.allowed_hosts,
            cors_origins: http.cors_origins,
            tls,
        },
    };
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

/// A server that is about to run.
struct Serving {
    listener: TcpListener,
    app: App,
    bookkeeper: Option<Bookkeeper>,
    reload: Reload,
    key_watch: Option<KeyWatch>,
    config: ServeConfig,
}

impl Serving {
    /// Serves until the first signal, or until the engine ends, and shuts down.
    async fn run(self, started: Started, signals: &Signals) -> anyhow::Result<()> {
        let Started {
            engine,
            engine_thread,
            local,
            step_model_keeper,
            ..
        } = started;
        drop(local);
        let mut tasks = JoinSet::new();
        tasks.spawn(tick(self.app.clone()));
        tasks.spawn(keep_step_model(engine.clone(), step_model_keeper));
        if let Some(watch) = self.key_watch {
            tasks.spawn(watch.run());
        }
        if let Some(tls) = self.config.tls.clone() {
            tasks.spawn(tls.keep_fresh(self.reload));
        }
        let stop = stop_signal(signals, engine.clone());
        serve(self.listener, self.app, stop, self.config).await;
        // A cancelled task drops its engine handle.
        tasks.shutdown().await;
        if let Some(bookkeeper) = self.bookkeeper {
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
    let midnight = now - now % SECONDS_PER_DAY;
    let today = Window::new(midnight, midnight + SECONDS_PER_DAY)?;
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

/// Samples costs and forgets wrong keys every second, whether there are requests or not.
async fn tick(app: App) {
    let mut every_second = tokio::time::interval(Duration::from_secs(1));
    loop {
        every_second.tick().await;
        app.books.costs.sample();
        app.access.forget_wrong_keys();
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

/// Connections that may wait to be accepted. Linux uses at most `net.core.somaxconn`.
const BACKLOG: u32 = 4096;

fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = || {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }?;
        // Otherwise a restart would have to wait for earlier connections to time out.
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listener().with_context(|| {
        format!("cannot listen on {address}: choose another with --host and --port")
    })
}

/// Completes when a signal asks for the end, or when the engine has ended: a server without an engine
/// must not keep running.
async fn stop_signal(signals: &Signals, engine: EngineHandle) {
    let why = tokio::select! {
        signal = signals.first() => signal.name(),
        () = engine.closed() => "the engine has ended",
    };
    tracing::info!(why, "shutting down");
}
