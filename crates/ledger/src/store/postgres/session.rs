//! A connection to PostgreSQL on which no call waits without a limit.

use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, Config, NoTls, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::describe;
use crate::{LedgerError, Location};

/// Reaching a server and logging in.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// An idle connection is probed after this long, then every [`KEEPALIVE_INTERVAL`]. Firewalls
/// forget connections, and a machine that was switched off sends no farewell.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;
const TCP_TIMEOUT: Duration = Duration::from_secs(30);

/// Opens connections to one server and runs work on the current one.
///
/// The limits are enforced twice. The server ends what takes too long by its own timeouts, so that
/// nothing keeps running there. The client stops waiting, because a server that is frozen or
/// unreachable enforces nothing.
pub(super) struct Session {
    location: Location,
    config: Config,
    /// Timeouts of the server for this session, as `SET` statements.
    settings: String,
    /// `None` after it has failed, because the state of the connection is then unknown.
    connection: Option<Connection>,
    runtime: Runtime,
}

/// A connection, and the task that moves its bytes.
struct Connection {
    client: Client,
    task: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The server's own timeouts. `None` leaves the server's setting.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ServerTimeouts {
    pub statement: Option<Duration>,
    pub lock: Option<Duration>,
    /// For a transaction whose client says nothing. Its locks would keep others waiting.
    pub idle_in_transaction: Option<Duration>,
}

impl Session {
    pub(super) fn new(
        location: &Location,
        url: &str,
        timeouts: ServerTimeouts,
    ) -> Result<Self, LedgerError> {
        let mut config: Config = url.parse()?;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(TCP_TIMEOUT);
        }
        if config.get_keepalives_idle() == Config::new().get_keepalives_idle() {
            config.keepalives_idle(KEEPALIVE_IDLE);
        }
        if config.get_keepalives_interval().is_none() {
            config.keepalives_interval(KEEPALIVE_INTERVAL);
        }
        if config.get_keepalives_retries().is_none() {
            config.keepalives_retries(KEEPALIVE_RETRIES);
        }
        // The connection's task runs only while a call waits for it.
        let runtime = Builder::new_current_thread().enable_all().build();
        Ok(Self {
            location: location.clone(),
            config,
            settings: timeouts.settings(),
            connection: None,
            runtime: runtime.map_err(LedgerError::Thread)?,
        })
    }

    /// Runs `work` on the connection, which is opened if there is none, and waits for it at most
    /// until `until`. After a failure the connection is closed.
    pub(super) fn run<T>(
        &mut self,
        until: Instant,
        work: impl AsyncFnOnce(&mut Client, &Limit) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let Self {
            location,
            config,
            settings,
            connection,
            runtime,
        } = self;
        let done = runtime.block_on(async {
            if connection
                .as_ref()
                .is_some_and(|open| open.client.is_closed())
            {
                *connection = None;
            }
            let open = match &mut *connection {
                Some(open) => open,
                empty => {
                    let limit = Limit::new(until.min(Instant::now() + CONNECT_TIMEOUT));
                    let opening = connect(config, location, settings);
                    empty.insert(limit.wait(opening).await?)
                }
            };
            work(&mut open.client, &Limit::new(until)).await
        });
        if done.is_err() {
            *connection = None;
        }
        done
    }

    pub(super) fn is_open(&self) -> bool {
        let open = self.connection.as_ref();
        open.is_some_and(|open| !open.client.is_closed())
    }
}

impl ServerTimeouts {
    fn settings(self) -> String {
        let set = |(name, timeout): (&str, Option<Duration>)| {
            timeout.map(|timeout| format!("; SET {name} = {}", timeout.as_millis().max(1)))
        };
        [
            ("statement_timeout", self.statement),
            ("lock_timeout", self.lock),
            (
                "idle_in_transaction_session_timeout",
                self.idle_in_transaction,
            ),
        ]
        .into_iter()
        .filter_map(set)
        .collect()
    }
}

/// The time until which answers are waited for.
pub(super) struct Limit {
    began: Instant,
    until: Instant,
}

impl Limit {
    pub(super) fn new(until: Instant) -> Self {
        Self {
            began: Instant::now(),
            until,
        }
    }

    /// Waits for an answer of the server.
    pub(super) async fn wait<T, E: Into<LedgerError>>(
        &self,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Result<T, LedgerError> {
        match tokio::time::timeout_at(self.until.into(), answer).await {
            Ok(answer) => answer.map_err(Into::into),
            Err(_) => Err(LedgerError::NoAnswer {
                seconds: self.began.elapsed().as_secs_f64(),
            }),
        }
    }
}

async fn connect(
    config: &Config,
    location: &Location,
    settings: &str,
) -> Result<Connection, LedgerError> {
    let refusal = |reason: String| LedgerError::Open {
        location: location.clone(),
        reason,
    };
    let is_local = |host: &Host| matches!(host, Host::Unix(_));
    let may_encrypt =
        config.get_ssl_mode() != SslMode::Disable && !config.get_hosts().iter().all(is_local);
    let connected = match may_encrypt.then(MakeRustlsConnect::with_native_certs) {
        Some(Ok((tls, _))) => {
            let connected = config.connect(tls).await;
            connected.map(|(client, connection)| Connection::start(client, connection))
        }
        // Without certificates the server cannot be verified. That is fine unless verification is
        // required.
        Some(Err(errors)) if config.get_ssl_mode() == SslMode::Require => {
            let causes: Vec<_> = errors.iter().map(ToString::to_string).collect();
            let causes = causes.join("; ");
            return Err(refusal(format!(
                "there are no certificates to check the server with (ca-certificates, or \
                 SSL_CERT_FILE): {causes}"
            )));
        }
        Some(Err(_)) | None => {
            let connected = config.connect(NoTls).await;
            connected.map(|(client, connection)| Connection::start(client, connection))
        }
    };
    let connection = connected.map_err(|error| refusal(describe(&error)))?;
    let set_up = format!("SET search_path TO farthing{settings}");
    connection.client.batch_execute(&set_up).await?;
    Ok(connection)
}

impl Connection {
    fn start<S>(client: Client, connection: tokio_postgres::Connection<Socket, S>) -> Self
    where
        tokio_postgres::Connection<Socket, S>:
            Future<Output = Result<(), tokio_postgres::Error>> + Send + 'static,
    {
        let task = tokio::spawn(async move {
            // The calls that wait for the connection report its errors.
            let _ = connection.await;
        });
        Self { client, task }
    }
}
