//! The binary `farthing`.

use std::process::ExitCode;

use clap::Parser;
use farthing_server::{
    AdaptersCommand, Args, Command, bench, check_config, compare, experiment, inspect, keys,
    ledger, log, price, render, replay, run, selftest, tco,
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
        Command::Adapters(AdaptersCommand::Inspect(args)) => succeed(inspect::run(&args)),
        Command::Tco(args) => succeed(tco::run(&args)),
        Command::Price(args) => succeed(price::run(&args)),
        Command::Render(args) => succeed(render::run(&args)),
        Command::Compare(args) => succeed(compare::run(&args)),
        Command::Bench(args) => succeed(bench::run(&args)),
        Command::CheckConfig(args) => succeed(check_config::run(&args)),
        Command::Experiment(args) => succeed(experiment::run(args)),
        Command::Replay(args) => succeed(replay::run(&args)),
        Command::Keys(args) => succeed(keys::run(args)),
        Command::Ledger(args) => succeed(ledger::run(args)),
        Command::Selftest(args) => succeed(selftest::run(&args)),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            log::print_error(&without_repetition(&error));
            ExitCode::FAILURE
        }
    }
}

fn succeed(done: anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    done.map(|()| ExitCode::SUCCESS)
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
