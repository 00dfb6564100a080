//! Measures how many rows per second the ledger writes, how fast it answers over a million rows,
//! and how long a row takes on the thread that records it.
//!
//!     cargo bench -p farthing-benches --bench ledger [-- --rows 1000000]
//!
//! It uses SQLite in a temporary directory, and PostgreSQL if `FARTHING_TEST_POSTGRES_URL` names a
//! server (a database of its own, `farthing_bench`, is created there). Ends with status 1 if a
//! limit is missed.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use farthing_ledger::{
    DeviceSeconds, Filter, GroupBy, Ledger, LedgerConfig, LedgerEntry, LedgerReader, Location,
    Outcome, Picoseconds, Window,
};

#[derive(Parser)]
struct Args {
    /// Rows to write and to query
    #[arg(long, default_value_t = 1_000_000)]
    rows: u32,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

const LEAST_ROWS_PER_SECOND: f64 = 5_000.0;
const LONGEST_ANSWER: Duration = Duration::from_secs(1);
/// 2026-11-01 00:00 UTC, and the month's end.
const MONTH: (i64, i64) = (1_793_491_200, 1_796_083_200);
const DAY: i64 = 86_400;

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let directory = tempfile::tempdir()?;
    let mut databases = vec![(
        "SQLite",
        Location::Sqlite(directory.path().join("ledger.sqlite3")),
    )];
    match std::env::var("FARTHING_TEST_POSTGRES_URL") {
        Ok(server) => databases.push(("PostgreSQL", new_database(&server)?)),
        Err(_) => println!("not run on PostgreSQL: FARTHING_TEST_POSTGRES_URL names no server"),
    }
    let mut passed = true;
    for (name, location) in databases {
        passed &= measure(name, &location, args.rows).context(name)?;
    }
    Ok(if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Creates a database on the server of the URL.
fn new_database(server: &str) -> anyhow::Result<Location> {
    let mut client = postgres::Client::connect(server, postgres::NoTls)?;
    client.execute("DROP DATABASE IF EXISTS farthing_bench WITH (FORCE)", &[])?;
    client.execute("CREATE DATABASE farthing_bench", &[])?;
    let (base, options) = server.split_once('?').unwrap_or((server, ""));
    let (host, _) = base.rsplit_once('/').context("the URL names no database")?;
    let url = format!("{host}/farthing_bench?{options}");
    url.parse().map_err(anyhow::Error::msg)
}

fn measure(name: &str, location: &Location, rows: u32) -> anyhow::Result<bool> {
    let ledger = open(location)?;
    let started = Instant::now();
    let mut handing_over = Duration::ZERO;
    for number in 0..rows {
        let entry = entry(number, rows);
        // The benchmark is faster than the database, so it waits for a place. A request would not
        // wait.
        let place = loop {
            match ledger.place() {
                Some(place) => break place,
                None => std::thread::yield_now(),
            }
        };
        let before = Instant::now();
        black_box(place).record(entry);
        handing_over += before.elapsed();
    }
    ledger.close(Duration::from_secs(600))?;
    let rows_per_second = f64::from(rows) / started.elapsed().as_secs_f64();
    let per_row = handing_over / rows;
    println!("{name}: {rows_per_second:.0} rows/s written; {per_row:?} to hand one over");

    let mut passed = rows_per_second >= LEAST_ROWS_PER_SECOND;
    let by_tenant_and_model = GroupBy {
        tenant: true,
        model: true,
        ..GroupBy::default()
    };
    for (what, stretch_s) in [("the month", MONTH.1 - MONTH.0), ("each of its days", DAY)] {
        let took = answer(location, stretch_s, by_tenant_and_model, rows)?;
        println!("{name}: {took:?} for an invoice of {what} by tenant and model");
        passed &= took <= LONGEST_ANSWER;
    }
    Ok(passed)
}

/// The median of five runs, each over its own connection, as for a request.
fn answer(
    location: &Location,
    stretch_s: i64,
    group_by: GroupBy,
    rows: u32,
) -> anyhow::Result<Duration> {
    let mut took = Vec::new();
    for _ in 0..5 {
        let started = Instant::now();
        let mut reader = LedgerReader::open(location)?;
        let window = Window::new(MONTH.0, MONTH.1)?;
        let invoices = reader.invoices(window, stretch_s, group_by, &Filter::default())?;
        took.push(started.elapsed());
        let lines = invoices.values().flat_map(|invoice| &invoice.lines);
        let found: u64 = lines.map(|line| line.usage.requests).sum();
        anyhow::ensure!(
            found == u64::from(rows),
            "{found} of {rows} rows were found"
        );
    }
    took.sort_unstable();
    Ok(took[2])
}

fn open(location: &Location) -> anyhow::Result<Ledger> {
    let config = LedgerConfig {
        location: location.clone(),
        model: "smollm2-135m-instruct".to_owned(),
        version: "bench".to_owned(),
        price: Some("0.10".parse()?),
        started_us: MONTH.0 * 1_000_000,
    };
    let device = || DeviceSeconds {
        window: (MONTH.1 - MONTH.0) as f64,
        idle: (MONTH.1 - MONTH.0) as f64,
        ..DeviceSeconds::default()
    };
    Ok(Ledger::open(config, device)?)
}

/// Rows spread over the month: 50 tenants, 8 adapters, every tenth aborted.
fn entry(number: u32, rows: u32) -> LedgerEntry {
    let second = (MONTH.1 - MONTH.0) as f64 * f64::from(number) / f64::from(rows);
    let ended_us = MONTH.0 * 1_000_000 + (second * 1e6) as i64;
    let adapter = (!number.is_multiple_of(9)).then(|| format!("adapter-{}", number % 9));
    let device = |seconds: f64| Picoseconds::from_seconds(seconds * f64::from(1 + number % 7));
    LedgerEntry {
        request_id: format!("chatcmpl-{number:024x}"),
        started_us: ended_us - 900_000,
        ended_us,
        api_key: None,
        tenant: None,
        user: Some(format!("tenant-{}", number % 50)),
        model: adapter
            .clone()
            .unwrap_or_else(|| "smollm2-135m-instruct".to_owned()),
        adapter,
        adapter_generation: Some("1".to_owned()),
        input_tokens: 512,
        cached_tokens: 128,
        output_tokens: 256,
        device_time: device(0.123_456_789),
        input_time: device(0.073_456_789),
        cached_time: device(0.01),
        output_time: device(0.04),
        cost_usd: Some("0.0000034293552500000000000001".parse().unwrap_or_default()),
        queue_seconds: Some(0.0123),
        ttft_seconds: Some(0.234_567),
        itl_p50_seconds: Some(0.031_234_5),
        itl_p95_seconds: Some(0.045_678_9),
        outcome: match number % 10 {
            0 => Outcome::Abort,
            _ => Outcome::Stop,
        },
        status: 200,
        prompt: None,
        routing: None,
        vendor: None,
    }
}
