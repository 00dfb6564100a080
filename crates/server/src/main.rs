//! The binary `farthing`.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::Parser;
use farthing_server::{
    AdaptersCommand, Args, Command, bench, compare, inspect, ledger, price, run, selftest, tco,
};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    let done = match args.into_command() {
        Command::Serve(args) => run(*args),
        Command::Adapters(AdaptersCommand::Inspect(args)) => inspect::run(&args),
        Command::Tco(args) => tco::run(&args),
        Command::Price(args) => price::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Ledger(args) => ledger::run(args),
        Command::Selftest(args) => selftest::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", without_repetition(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error with its causes. A cause that an earlier message contains is left out.
fn without_repetition(error: &anyhow::Error) -> String {
    let mut message = error.to_string();
    for cause in error.chain().skip(1).map(|cause| cause.to_string()) {
        if !message.contains(&cause) {
            message = format!("{message}: {cause}");
        }
    }
    message
}
