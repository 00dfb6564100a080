//! The signals of the process.

use std::io;
use std::process::ExitCode;

use tokio::sync::watch;

use crate::reload::Reload;

/// The signals that have arrived. The first SIGINT or SIGTERM asks for the end, and the second one does
/// not wait for it. SIGHUP reloads files and never ends the process.
pub(crate) struct Signals {
    received: watch::Receiver<Received>,
}

/// A signal that ends the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopSignal {
    Interrupt,
    Terminate,
}

#[derive(Clone, Copy, Default)]
struct Received {
    count: usize,
    last: Option<StopSignal>,
}

impl StopSignal {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        }
    }

    /// 128 plus the number of the signal, as shells report it.
    pub(crate) fn exit_code(self) -> ExitCode {
        match self {
            Self::Interrupt => ExitCode::from(130),
            Self::Terminate => ExitCode::from(143),
        }
    }
}

impl Signals {
    /// Receives signals from now on. SIGHUP becomes a request to `reload`.
    ///
    /// # Errors
    /// The process cannot receive signals.
    pub(crate) fn listen(reload: Reload) -> io::Result<Self> {
        let mut sources = Sources::new()?;
        let sender = watch::Sender::new(Received::default());
        let received = sender.subscribe();
        tokio::spawn(async move {
            loop {
                match sources.next().await {
                    Some(signal) => sender.send_modify(|received| {
                        received.count += 1;
                        received.last = Some(signal);
                    }),
                    None => reload.request(),
                }
            }
        });
        Ok(Self { received })
    }

    /// Returns once a signal has asked for the end.
    pub(crate) async fn first(&self) -> StopSignal {
        self.nth(1).await
    }

    /// Returns once a signal has asked for the end a second time.
    pub(crate) async fn second(&self) -> StopSignal {
        self.nth(2).await
    }

    async fn nth(&self, count: usize) -> StopSignal {
        let mut received = self.received.clone();
        let reached = received.wait_for(|received| received.count >= count).await;
        match reached.map(|received| received.last) {
            Ok(Some(signal)) => signal,
            // The task that receives signals has ended with the runtime.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(unix)]
struct Sources {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Sources {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// The next signal; `None` is SIGHUP.
    async fn next(&mut self) -> Option<StopSignal> {
        tokio::select! {
            Some(()) = self.interrupt.recv() => Some(StopSignal::Interrupt),
            Some(()) = self.terminate.recv() => Some(StopSignal::Terminate),
            Some(()) = self.hang_up.recv() => None,
            else => std::future::pending().await,
        }
    }
}

#[cfg(not(unix))]
struct Sources;

#[cfg(not(unix))]
impl Sources {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> Option<StopSignal> {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Some(StopSignal::Interrupt),
            Err(error) => {
                tracing::warn!("cannot wait for Ctrl-C: {error}");
                std::future::pending().await
            }
        }
    }
}
