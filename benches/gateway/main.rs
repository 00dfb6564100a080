//! Measures what a route adds to the time until the first token: a client asks a vendor directly, and through
//! a route of Farthing that splits units between two arms of that vendor, writes each assignment to a ledger
//! before it asks, and each bill after.
//!
//!     cargo bench -p farthing-benches --bench gateway [-- --streams 200]
//!
//! Vendor and gateway are processes of their own, and this process is the client. Both ways take turns. Ends
//! with status 1 if the p99 is more than 2 ms above that of the direct way.

mod client;
mod servers;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::{Parser, ValueEnum};
use farthing_benches::{ServerProcess, median};

use client::{Client, FirstTokens};

#[derive(Parser)]
struct Args {
    /// Streams at the same time
    #[arg(long, default_value_t = 200)]
    streams: usize,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// How often each measurement is repeated
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Become this server: what the benchmark starts itself with
    #[arg(long, hide = true)]
    serve: Option<Server>,
    /// The vendor of the gateway
    #[arg(long, hide = true)]
    vendor: Option<SocketAddr>,
    /// The gateway's ledger
    #[arg(long, hide = true)]
    ledger: Option<std::path::PathBuf>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Server {
    Vendor,
    Gateway,
}

/// The highest p99 that a route may add to the first token.
const LIMIT_MS: f64 = 2.0;

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    rlimit::increase_nofile_limit(u64::MAX)?;
    match (args.serve, args.vendor, args.ledger) {
        (Some(Server::Vendor), ..) => {
            servers::serve_vendor()?;
            return Ok(ExitCode::SUCCESS);
        }
        (Some(Server::Gateway), Some(vendor), Some(ledger)) => {
            servers::serve_gateway(vendor, &ledger)?;
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    let client = Client {
        streams: args.streams,
        duration: Duration::from_secs(args.seconds),
    };
    println!(
        "{} streams of {} tokens, one each {} ms: time to the first token in ms",
        args.streams,
        servers::TOKENS,
        servers::BETWEEN_TOKENS.as_millis()
    );
    let mut added = Vec::new();
    for round in 0..args.rounds {
        let (direct, routed) = measure(&client, round)?;
        println!(
            "  direct p50 {:.3}, p99 {:.3} ({} answers); route p50 {:.3}, p99 {:.3} ({} answers)",
            direct.p50_ms,
            direct.p99_ms,
            direct.answers,
            routed.p50_ms,
            routed.p99_ms,
            routed.answers
        );
        added.push((routed.p50_ms - direct.p50_ms, routed.p99_ms - direct.p99_ms));
    }
    let p50_ms = median(added.iter().map(|it| it.0));
    let p99_ms = median(added.iter().map(|it| it.1));
    println!("  added, median: p50 {p50_ms:.3}, p99 {p99_ms:.3}");
    if p99_ms <= LIMIT_MS {
        return Ok(ExitCode::SUCCESS);
    }
    println!("the limit of {LIMIT_MS} ms is missed");
    Ok(ExitCode::FAILURE)
}

/// Both ways in turn, with servers and a ledger of their own.
fn measure(client: &Client, round: usize) -> anyhow::Result<(FirstTokens, FirstTokens)> {
    let directory = tempfile::tempdir()?;
    let vendor = start_vendor()?;
    let ledger = directory.path().join("ledger.sqlite3");
    let gateway = start_gateway(vendor.address, &ledger)?;
    let direct = || client.first_tokens(vendor.address, servers::MODEL);
    let routed = || client.first_tokens(gateway.address, servers::ROUTE);
    if round.is_multiple_of(2) {
        let direct = direct()?;
        Ok((direct, routed()?))
    } else {
        let routed = routed()?;
        Ok((direct()?, routed))
    }
}

fn start_vendor() -> anyhow::Result<ServerProcess> {
    ServerProcess::start(Command::new(std::env::current_exe()?).args(["--serve", "vendor"]))
}

fn start_gateway(vendor: SocketAddr, ledger: &Path) -> anyhow::Result<ServerProcess> {
    let vendor = vendor.to_string();
    ServerProcess::start(
        Command::new(std::env::current_exe()?)
            .args(["--serve", "gateway", "--vendor", &vendor, "--ledger"])
            .arg(ledger),
    )
}
