//! The binary `farthing`.

use std::process::ExitCode;

use clap::Parser;
use farthing_server::{
    AdaptersCommand, Args, Command, bench, compare, inspect, keys, ledger, log, price, run,
    selftest, tco,
};

fn main() -> ExitCode {
    let command = Args::parse().into_command();
    let _log = log::start();
    if !matches!(command, Command::Serve(_)) {
        // `farthing price --list | head -1` ends as other programs do.
        sigpipe::reset();
    }
    let done = match command {
        Command::Serve(args) => run(*args),
        Command::Adapters(AdaptersCommand::Inspect(args)) => inspect::run(&args),
        Command::Tco(args) => tco::run(&args),
        Command::Price(args) => price::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Keys(args) => keys::run(args),
        Command::Ledger(args) => ledger::run(args),
        Command::Selftest(args) => selftest::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::print_error(&without_repetition(&error));
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
