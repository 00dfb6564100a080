//! The location of a ledger.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A SQLite file, or a PostgreSQL database.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// A file. The file and its directory are created if they are missing.
    Sqlite(PathBuf),
    /// A connection URL, `postgres://…` or `postgresql://…`.
    Postgres(String),
}

const POSTGRES_SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

impl FromStr for Location {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("empty location: expected a file or a postgres:// URL".to_owned());
        }
        if POSTGRES_SCHEMES
            .iter()
            .any(|scheme| text.starts_with(scheme))
        {
            let parsed = text.parse::<tokio_postgres::Config>();
            return match parsed {
                Ok(_) => Ok(Self::Postgres(text.to_owned())),
                Err(error) => Err(format!("not a PostgreSQL URL: {error}")),
            };
        }
        match text.split_once("://") {
            Some((scheme, _)) => Err(format!(
                "unsupported scheme {scheme}://: expected a file or a postgres:// URL"
            )),
            None => Ok(Self::Sqlite(text.into())),
        }
    }
}

/// Omits the password, because this is logged.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = match self {
            Self::Sqlite(path) => return write!(f, "{}", path.display()),
            Self::Postgres(url) => url,
        };
        let config = url.parse::<tokio_postgres::Config>();
        let config = config.map_err(|_| fmt::Error)?;
        let host = config.get_hosts().first().map(|host| match host {
            tokio_postgres::config::Host::Tcp(host) => host.clone(),
            #[cfg(unix)]
            tokio_postgres::config::Host::Unix(path) => path.display().to_string(),
        });
        let host = host.unwrap_or_default();
        write!(f, "postgres://{host}")?;
        match config.get_dbname() {
            Some(name) => write!(f, "/{name}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
