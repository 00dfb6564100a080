//! `farthing keys`: makes, lists and revokes the keys of callers.

use std::num::NonZeroU32;
use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, Subcommand};
use farthing_keys::{AllowList, Key, KeyFile, Terms};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::output;
use crate::visible::{visible, visible_json};

/// Flags of `keys`.
#[derive(Clone, Debug, Args)]
pub struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum KeysCommand {
    /// Make a key and print it; it is shown this once, and the file keeps only its hash
    Add {
        #[command(flatten)]
        file: FileArg,
        #[command(flatten)]
        key: Box<NewKey>,
    },
    /// List the keys and their terms
    List {
        #[command(flatten)]
        file: FileArg,
        /// Print them as JSON
        #[arg(long)]
        json: bool,
    },
    /// Revoke a key; a running server refuses it within two seconds
    Revoke {
        #[command(flatten)]
        file: FileArg,
        /// The key's name or id
        #[arg(value_name = "NAME|ID")]
        key: String,
    },
}

#[derive(Clone, Debug, Args)]
struct FileArg {
    /// The key file
    #[arg(long = "keys", value_name = "FILE", env = "FARTHING_KEYS")]
    path: PathBuf,
}

#[derive(Clone, Debug, Args)]
struct NewKey {
    /// Name of the key in the ledger
    #[arg(long)]
    name: String,
    /// Who pays: tenants have a prefix cache and a line of the invoice of their own [default: the name]
    #[arg(long)]
    tenant: Option<String>,
    /// A base model that the key may use; may be repeated, and NAME* allows all names that begin so
    /// [default: all]
    #[arg(long = "allow-model", value_name = "NAME")]
    models: Vec<String>,
    /// An adapter that the key may use; may be repeated, and NAME* allows all names that begin so
    /// [default: all]
    #[arg(
        long = "allow-adapter",
        value_name = "NAME",
        conflicts_with = "no_adapters"
    )]
    adapters: Vec<String>,
    /// The key may use no adapter
    #[arg(long)]
    no_adapters: bool,
    /// Requests per minute
    #[arg(long, value_name = "REQUESTS")]
    requests_per_minute: Option<NonZeroU32>,
    /// Tokens per minute, of prompts and answers together
    #[arg(long, value_name = "TOKENS")]
    tokens_per_minute: Option<NonZeroU32>,
    /// US dollars of device time per day in UTC; running answers are cut off when they are spent
    #[arg(long, value_name = "USD", value_parser = parse_usd)]
    usd_per_day: Option<Decimal>,
    /// When the key is no longer accepted: 2027-01-31 (from its first moment in UTC) or
    /// 2027-01-31T18:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    expires: Option<Timestamp>,
}

/// Runs a subcommand of `keys`.
///
/// # Errors
/// The file cannot be read or written, the name is taken, or there is no such key.
pub fn run(args: KeysArgs) -> anyhow::Result<()> {
    match args.command {
        KeysCommand::Add { file, key } => {
            let (name, terms) = key.into_terms()?;
            let file = KeyFile::new(file.path);
            let secret = file.add(&name, terms)?;
            output::print_line(secret.text())?;
            output::tell(&format!(
                "The key {name:?} is in {}. It is shown only this once.",
                file.path().display()
            ));
        }
        KeysCommand::List { file, json } => {
            let keys = KeyFile::new(file.path).read()?;
            if json {
                let keys: Vec<_> = keys.iter().map(card).collect();
                output::print_line(visible_json(&format!("{:#}", Value::from(keys))))?;
            } else {
                for key in &keys {
                    output::print_line(visible(&line(key)))?;
                }
            }
        }
        KeysCommand::Revoke { file, key } => {
            let revoked = KeyFile::new(file.path).revoke(&key)?;
            output::tell(&format!(
                "The key {:?} ({}) is revoked.",
                revoked.name, revoked.id
            ));
        }
    }
    Ok(())
}

impl NewKey {
    fn into_terms(self) -> anyhow::Result<(String, Terms)> {
        if self
            .expires
            .is_some_and(|expires| expires <= Timestamp::now())
        {
            bail!("--expires is in the past");
        }
        let allowed = |names: Vec<String>| {
            if names.is_empty() {
                AllowList::all()
            } else {
                AllowList::of(names)
            }
        };
        let terms = Terms {
            tenant: self.tenant.unwrap_or_else(|| self.name.clone()),
            models: allowed(self.models),
            adapters: if self.no_adapters {
                AllowList::of([])
            } else {
                allowed(self.adapters)
            },
            requests_per_minute: self.requests_per_minute,
            tokens_per_minute: self.tokens_per_minute,
            usd_per_day: self.usd_per_day,
            expires: self.expires,
        };
        Ok((self.name, terms))
    }
}

/// Everything about a key but its hash.
fn card(key: &Key) -> Value {
    let terms = &key.terms;
    let names = |list: &AllowList| (!list.is_all()).then(|| json!(list.names()));
    json!({
        "id": key.id,
        "name": key.name,
        "tenant": terms.tenant,
        "created": key.created.to_string(),
        "revoked": key.revoked.map(|it| it.to_string()),
        "expires": terms.expires.map(|it| it.to_string()),
        "models": names(&terms.models),
        "adapters": names(&terms.adapters),
        "requests_per_minute": terms.requests_per_minute,
        "tokens_per_minute": terms.tokens_per_minute,
        "usd_per_day": terms.usd_per_day.map(|it| it.to_string()),
    })
}

fn line(key: &Key) -> String {
    let terms = &key.terms;
    let mut parts = vec![
        key.id.clone(),
        key.name.clone(),
        format!("tenant {}", terms.tenant),
    ];
    for (what, list) in [("models", &terms.models), ("adapters", &terms.adapters)] {
        if !list.is_all() {
            parts.push(format!("{what} [{}]", list.names().join(", ")));
        }
    }
    let rate = |per_minute: Option<NonZeroU32>, what| {
        per_minute.map(|per_minute| format!("{per_minute} {what} a minute"))
    };
    parts.extend(rate(terms.requests_per_minute, "requests"));
    parts.extend(rate(terms.tokens_per_minute, "tokens"));
    parts.extend(terms.usd_per_day.map(|usd| format!("{usd} USD a day")));
    parts.extend(terms.expires.map(|at| format!("expires {at}")));
    parts.extend(key.revoked.map(|at| format!("revoked {at}")));
    parts.join("  ")
}

fn parse_usd(text: &str) -> Result<Decimal, String> {
    match text.parse::<Decimal>() {
        Ok(usd) if usd >= Decimal::ZERO => Ok(usd),
        _ => Err("expected US dollars, for example 10.00".to_owned()),
    }
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    let date = text.parse::<Date>().ok();
    let midnight = date.filter(|_| text.len() == "2027-01-31".len());
    let at = match midnight {
        Some(date) => TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0)),
        None => text.parse(),
    };
    at.map_err(|_| "expected a date or a time such as 2027-01-31T18:00:00Z".to_owned())
}
