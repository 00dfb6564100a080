//! A server from its first request to its last.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::bail;
use farthing_engine::EngineHandle;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::config::{Config, Price};
use super::reserved::Reserved;
use super::signals::Signals;
use super::start::Started;
use super::step_model_cache::StepModelKeeper;
use crate::access::KeyWatch;
use crate::costs::CostsConfig;
use crate::gateway::RoutesWatch;
use crate::http::app::{App, AppConfig};
use crate::http::serve::{ServeConfig, serve};
use crate::http::timeouts::Timeouts;
use crate::machine::Machine;
use crate::reload::Reload;
use crate::request::bookkeeper::Bookkeeper;

/// The time limit for a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The time limit for the head of a request, and for its body.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a peer may read nothing while there is something to write.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long shutdown waits for rows to be written to the ledger.
const LEDGER_PATIENCE: Duration = Duration::from_secs(10);

/// How long shutdown waits for the engine thread.
const LAST_STEP: Duration = Duration::from_secs(10);

/// How often a learned step model is saved.
const KEEP_EVERY: Duration = Duration::from_secs(30);

/// A server that is about to run.
pub(super) struct Serving {
    listener: TcpListener,
    app: App,
    bookkeeper: Option<Bookkeeper>,
    reload: Reload,
    key_watch: Option<KeyWatch>,
    routes_watch: Option<RoutesWatch>,
    config: ServeConfig,
}

impl Serving {
    /// Everything is ready to be served.
    ///
    /// # Errors
    /// The routes file cannot be used.
    pub(super) async fn new(
        config: Config,
        reserved: Reserved,
        started: &Started,
        bookkeeper: Option<Bookkeeper>,
        reload: Reload,
    ) -> anyhow::Result<Self> {
        let app = app(&config, &reserved, started);
        let app = match bookkeeper.clone() {
            Some(bookkeeper) => app.with_ledger(bookkeeper),
            None => app,
        };
        let (app, routes_watch) = match config.routes.clone() {
            Some(file) => {
                let (app, watch) = app.with_routes_file(file).await?;
                (app, Some(watch))
            }
            None => (app, None),
        };
        let Reserved {
            listener,
            tls,
            keys,
            max_connections,
        } = reserved;
        let price = config.price.per_hour();
        let http = config.http;
        Ok(Self {
            listener,
            app,
            bookkeeper,
            reload,
            key_watch: keys
                .zip(http.keys)
                .map(|(keys, file)| KeyWatch { file, price, keys }),
            routes_watch,
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
        })
    }

    /// Serves until the first signal, or until the engine ends, and shuts down.
    pub(super) async fn run(self, started: Started, signals: &Signals) -> anyhow::Result<()> {
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
        if let Some(watch) = self.routes_watch {
            if let Some(bookkeeper) = self.bookkeeper.clone() {
                tasks.spawn(watch.gateway.clone().watch_guardrails(bookkeeper));
            }
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

/// The provider, and what the routes know of it.
fn app(config: &Config, reserved: &Reserved, started: &Started) -> App {
    let local = &started.local;
    let app = App::new(AppConfig {
        provider: Arc::new(local.clone()),
        models: local.models.clone(),
        engine: Some(local.backend.clone()),
        costs: CostsConfig {
            price: config.price.per_hour(),
            slo_tokens_per_second: config.slo_tokens_per_second,
            tokenizer: started.tokenizer,
        },
        lanes: local.lanes.clone(),
    });
    let mut app = app.with_machine(Machine {
        device: config.model.device.describe(),
        memory: started.memory,
        price_is_example: matches!(config.price, Price::Example(_)),
    });
    if let Some(key) = config.http.admin_key.clone() {
        app = app.with_admin_key(key);
    }
    if let Some(keys) = reserved.keys.clone() {
        app = app.with_keys(keys);
    }
    app
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

/// Completes when a signal asks for the end, or when the engine has ended: a server without an engine
/// must not keep running.
async fn stop_signal(signals: &Signals, engine: EngineHandle) {
    let why = tokio::select! {
        signal = signals.first() => signal.name(),
        () = engine.closed() => "the engine has ended",
    };
    tracing::info!(why, "shutting down");
}
