use clap::Parser;
use farthing_loadgen::{Arrivals, Traffic};

use super::BenchArgs;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: BenchArgs,
}

fn traffic(flags: &str) -> Traffic {
    let line = ["bench"].into_iter().chain(flags.split_whitespace());
    Line::parse_from(line).args.traffic().unwrap()
}

fn error(flags: &[&str]) -> String {
    match Line::try_parse_from(["bench"].iter().chain(flags)) {
        Ok(line) => line.args.config().unwrap_err().to_string(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn nothing_said_is_a_small_closed_loop() {
    let traffic = traffic("");
    assert_eq!(traffic.arrivals, Arrivals::AtOnce);
    assert_eq!(
        (traffic.max_concurrency, traffic.warm_up_requests),
        (Some(8), 8)
    );
}

#[test]
fn a_rate_is_an_open_loop() {
    let traffic = traffic("--request-rate 2.5 --burstiness 0.5");
    let arrivals = Arrivals::Random {
        rate: 2.5,
        burstiness: 0.5,
    };
    assert_eq!(traffic.arrivals, arrivals);
    assert_eq!(
        (traffic.max_concurrency, traffic.warm_up_requests),
        (None, 8)
    );
}

#[test]
fn an_infinite_rate_is_vllms_burst() {
    let traffic = traffic("--request-rate inf");
    assert_eq!(traffic.arrivals, Arrivals::AtOnce);
    assert_eq!(
        (traffic.max_concurrency, traffic.warm_up_requests),
        (None, 0)
    );
}

#[test]
fn several_models_are_asked() {
    for flags in [
        "--model a,b,c",
        "--lora-modules a b c",
        "--model a --model b,c",
    ] {
        let models: Vec<String> = traffic(flags)
            .models
            .iter()
            .map(|it| it.to_string())
            .collect();
        assert_eq!(models, ["a", "b", "c"], "{flags}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_in_words() {
    for (flags, expected) in [
        (
            &["--base-url", "127.0.0.1:8000"][..],
            "expected one like http://",
        ),
        (&["--goodput", "ttft=5"], "ttft:MS"),
        (&["--goodput", "ttft:0"], "ttft:MS"),
        (&["--find-slo-rate"], "--goodput"),
        (&["--request-rate", "0"], "requests per second, or inf"),
        (&["--request-rate=-1"], "--request-rate"),
        (
            &["--duration", "5", "--request-rate", "inf"],
            "--max-concurrency",
        ),
        (&["--dataset-name", "azure"], "--dataset-path"),
        (&["--dataset-path", "x"], "--dataset-name"),
        (
            &["--dataset-name", "azure", "--dataset-path", "no/such.csv"],
            "no/such.csv",
        ),
        (&["--random-range-ratio", "1"], "below 1"),
        (&["--metric-percentiles", "101"], "percentages"),
        (&["--extra-body", "[1]"], "a JSON object"),
        (&["--price-per-hour=-2"], "--price-per-hour"),
    ] {
        let told = error(flags);
        assert!(told.contains(expected), "{flags:?}: {told}");
    }
}
