//! The life of the process.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use farthing_engine::EngineHandle;

use crate::args::ServeArgs;
use crate::banner::Banner;
use crate::config::Config;
use crate::start::{Started, start};
use crate::{App, serve};

/// Loads a model, serves it until a signal comes, and ends.
///
/// # Errors
/// Whatever keeps the server from starting, with what to do about it; or the engine's end.
#[tokio::main]
pub async fn run(args: ServeArgs) -> anyhow::Result<()> {
    let process_began = Instant::now();
    let config = Config::try_from(args)?;
    // The port is taken first: a long load must not end in "address in use".
    let listener = bind(config.http.address)?;
    let (price, http) = (config.price, config.http.clone());
    let device = config.model.device;
    let started = tokio::task::spawn_blocking(move || {
        start(&config, process_began, &|line| println!("{line}"))
    });
    let started = started.await.context("loading the model")??;
    let mut app = App::new(started.local.clone());
    if let Some(key) = http.admin_key {
        app = app.with_admin_key(key);
    }
    app.warm_up().await?;

    let address = listener.local_addr()?;
    print!(
        "{}",
        Banner {
            started: &started,
            device,
            price,
            address
        }
    );
    let Started { engine, local, .. } = started;
    drop(local);
    let stop = stop_signal(engine.clone());
    let sampling = tokio::spawn(sample_costs(app.clone()));
    serve(
        tokio::net::TcpListener::from_std(listener)?,
        app,
        stop,
        http.shutdown_timeout,
    )
    .await?;
    sampling.abort();
    if !engine.is_alive() {
        bail!("the engine thread has ended: its last words are above");
    }
    Ok(())
}

/// Keeps the figures of the last minutes, also while nobody asks for them.
async fn sample_costs(app: App) {
    let mut every_second = tokio::time::interval(Duration::from_secs(1));
    loop {
        every_second.tick().await;
        app.sample_costs();
    }
}

fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).with_context(|| {
        format!("cannot listen on {address}: choose another with --host and --port")
    })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Completes when the process is asked to end, or when the engine is gone: a server without an
/// engine must not linger.
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
