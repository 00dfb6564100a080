//! Measures what Farthing's HTTP layer costs: keys, limits, metrics and the stream itself, without an
//! engine, beside a bare server of axum that streams the same chunks.
//!
//!     cargo bench -p farthing-benches --bench http [-- --streams 1000]
//!
//! Each server is a process of its own, and this process is the client of both. They take turns. Ends
//! with status 1 if the p99 of a chunk's delay is more than 1 ms above that of the bare server.

mod client;
mod emitter;
mod servers;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Parser, ValueEnum};
use farthing_benches::{ServerProcess, median};
use farthing_keys::{KeyFile, Terms};

use client::{Client, Delays};
use emitter::Schedule;

#[derive(Parser)]
struct Args {
    /// Streams at the same time
    #[arg(long, default_value_t = 1000)]
    streams: usize,
    /// Tokens per second of each stream
    #[arg(long, default_value_t = 20)]
    rate: u32,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// How often each measurement is repeated
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Become this server: what the benchmark starts itself with
    #[arg(long, hide = true, requires = "keys")]
    serve: Option<Server>,
    /// The server's key file
    #[arg(long, hide = true)]
    keys: Option<PathBuf>,
    /// The groups of the server's streams, one after another in each interval
    #[arg(long, hide = true, default_value_t = 1)]
    groups: u32,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Server {
    Farthing,
    Axum,
}

/// The highest p99 that may be added to a chunk's delay.
const LIMIT_MS: f64 = 1.0;
/// The loads on a schedule: one engine step gives all streams a token at once, or many engines' steps
/// give each some of them.
const LOADS: [(&str, u32); 2] = [("in 50 groups", 50), ("all at once", 1)];
const KEYS: usize = 10;
/// Limits that refuse nothing.
const PER_MINUTE: NonZeroU32 = NonZeroU32::new(1_000_000_000).expect("it is not 0");
const USD_PER_DAY: u32 = 1_000_000;

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    rlimit::increase_nofile_limit(u64::MAX)?;
    if let (Some(server), Some(keys)) = (args.serve, &args.keys) {
        let schedule = Schedule {
            interval: Duration::from_secs(1) / args.rate,
            groups: args.groups,
        };
        servers::serve(server, &KeyFile::new(keys), schedule)?;
        return Ok(ExitCode::SUCCESS);
    }
    let directory = tempfile::tempdir()?;
    let key_file = directory.path().join("keys.toml");
    let keys = new_keys(&KeyFile::new(&key_file))?;
    let bench = Bench {
        client: Client {
            keys,
            streams: args.streams,
            duration: Duration::from_secs(args.seconds),
        },
        key_file,
        rate: args.rate,
        rounds: args.rounds,
    };
    bench.check_same_answers()?;
    let mut passed = true;
    for (name, groups) in LOADS {
        passed &= bench.delays(name, groups)? <= LIMIT_MS;
    }
    bench.throughput()?;
    Ok(if passed {
        ExitCode::SUCCESS
    } else {
        println!("the limit of {LIMIT_MS} ms is missed");
        ExitCode::FAILURE
    })
}

fn new_keys(file: &KeyFile) -> anyhow::Result<Vec<String>> {
    let keys = (0..KEYS).map(|number| {
        let terms = Terms {
            tenant: format!("tenant-{number}"),
            requests_per_minute: Some(PER_MINUTE),
            tokens_per_minute: Some(PER_MINUTE),
            usd_per_day: Some(USD_PER_DAY.into()),
            ..Terms::default()
        };
        Ok(file.add(&format!("key-{number}"), terms)?.text().to_owned())
    });
    keys.collect()
}

struct Bench {
    client: Client,
    key_file: PathBuf,
    rate: u32,
    rounds: usize,
}

impl Bench {
    /// The comparison is fair only if both servers stream as many bytes.
    fn check_same_answers(&self) -> anyhow::Result<()> {
        let [farthing, axum] = [Server::Farthing, Server::Axum].map(|server| {
            let running = self.start(server, 1)?;
            self.client.answer(running.address)
        });
        let (farthing, axum) = (farthing?, axum?);
        ensure!(
            farthing.len() == axum.len(),
            "the servers' answers differ in length:\n{farthing}\n{axum}"
        );
        Ok(())
    }

    /// Measures the delays of a load on a schedule: the added p99 in milliseconds, the median of the
    /// rounds.
    fn delays(&self, name: &str, groups: u32) -> anyhow::Result<f64> {
        println!(
            "{} streams of {} tokens/s, {name}: delay of a chunk in ms",
            self.client.streams, self.rate
        );
        let rounds = self.rounds(groups, |address| self.client.delays(address))?;
        let mut added = Vec::new();
        for (farthing, axum) in rounds {
            let Delays { p50_ms, p99_ms } = farthing;
            println!(
                "  p50 {p50_ms:.3}, axum's {:.3}; p99 {p99_ms:.3}, axum's {:.3}",
                axum.p50_ms, axum.p99_ms
            );
            added.push(Delays {
                p50_ms: p50_ms - axum.p50_ms,
                p99_ms: p99_ms - axum.p99_ms,
            });
        }
        let p50_ms = median(added.iter().map(|it| it.p50_ms));
        let p99_ms = median(added.iter().map(|it| it.p99_ms));
        println!("  added, median: p50 {p50_ms:.3}, p99 {p99_ms:.3}");
        Ok(p99_ms)
    }

    /// Measures how many short streams per second are answered.
    fn throughput(&self) -> anyhow::Result<()> {
        println!(
            "{} streams of {} tokens without a schedule: streams per second",
            self.client.streams,
            emitter::SHORT_TOKENS
        );
        let rounds = self.rounds(1, |address| self.client.streams_per_second(address))?;
        let mut ratios = Vec::new();
        for (farthing, axum) in rounds {
            println!("  {farthing:.0}, axum's {axum:.0}");
            ratios.push(farthing / axum);
        }
        println!("  ratio, median: {:.2}", median(ratios));
        Ok(())
    }

    /// Measures both servers in turn: Farthing's result and axum's of each round.
    fn rounds<T>(
        &self,
        groups: u32,
        measure: impl Fn(SocketAddr) -> anyhow::Result<T>,
    ) -> anyhow::Result<Vec<(T, T)>> {
        let of = |server| measure(self.start(server, groups)?.address);
        let round = |number: usize| {
            if number.is_multiple_of(2) {
                let farthing = of(Server::Farthing)?;
                Ok((farthing, of(Server::Axum)?))
            } else {
                let axum = of(Server::Axum)?;
                Ok((of(Server::Farthing)?, axum))
            }
        };
        (0..self.rounds).map(round).collect()
    }

    fn start(&self, server: Server, groups: u32) -> anyhow::Result<ServerProcess> {
        let name = server.to_possible_value().context("it has a name")?;
        ServerProcess::start(
            Command::new(std::env::current_exe()?)
                .args(["--serve", name.get_name()])
                .arg("--keys")
                .arg(&self.key_file)
                .args(["--rate", &self.rate.to_string()])
                .args(["--groups", &groups.to_string()]),
        )
    }
}
