//! `farthing replay`: sends prompts to both arms of an experiment.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, bail, ensure};
use serde_json::{Map, Value};

use super::output;
use crate::visible::visible;

/// Flags of `replay`.
#[derive(Clone, Debug, clap::Args)]
pub struct ReplayArgs {
    /// A chat request in each line, as JSON; a file without `model` is completed
    #[arg(value_name = "FILE")]
    prompts: PathBuf,
    /// Address of the server
    #[arg(long, default_value = "http://127.0.0.1:8000")]
    url: String,
    /// The route. Its file must say `clients_may_choose = true`
    #[arg(long)]
    route: String,
    /// The arms that answer each request
    #[arg(long, value_name = "ARM", value_delimiter = ',', required = true)]
    arms: Vec<String>,
    /// API key
    #[arg(long, env = "FARTHING_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// Requests at the same time
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: u16,
}

/// What became of the requests.
#[derive(Default)]
struct Outcome {
    answered: AtomicUsize,
    failures: Mutex<Vec<String>>,
}

/// Failures that are shown.
const SHOWN_FAILURES: usize = 5;

/// Sends each line to each arm. The answers are checked by the route's checks, and the report of the
/// experiment shows them.
///
/// # Errors
/// The file cannot be read, or a request fails.
pub fn run(args: &ReplayArgs) -> anyhow::Result<()> {
    ensure!(
        args.arms.len() >= 2,
        "--arms needs two names, such as: --arms today,tuned"
    );
    let requests = read(args)?;
    ensure!(
        !requests.is_empty(),
        "{} has no requests",
        args.prompts.display()
    );
    let jobs: Vec<_> = requests
        .iter()
        .enumerate()
        .flat_map(|(line, request)| args.arms.iter().map(move |arm| (line, request, arm)))
        .collect();
    let (next, outcome) = (AtomicUsize::new(0), Outcome::default());
    thread::scope(|scope| {
        for _ in 0..args.concurrency {
            scope.spawn(|| {
                let agent = ureq::Agent::new_with_defaults();
                while let Some((line, request, arm)) =
                    jobs.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    match send(&agent, args, *line, request, arm) {
                        Ok(()) => {
                            outcome.answered.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => {
                            let failure = format!("line {}, arm {arm}: {error:#}", line + 1);
                            // The code under the lock does not panic.
                            if let Ok(mut failures) = outcome.failures.lock() {
                                failures.push(failure);
                            }
                        }
                    }
                }
            });
        }
    });
    let failures = outcome.failures.into_inner().unwrap_or_default();
    let answered = outcome.answered.into_inner();
    output::print_line(format_args!(
        "{answered} of {} answers: {} requests to {} arms",
        jobs.len(),
        requests.len(),
        args.arms.len()
    ))?;
    for failure in failures.iter().take(SHOWN_FAILURES) {
        output::tell(&visible(failure));
    }
    match failures.len() {
        0 => Ok(()),
        count => bail!("{count} requests failed"),
    }
}

fn read(args: &ReplayArgs) -> anyhow::Result<Vec<Map<String, Value>>> {
    let file = args.prompts.display();
    let reader = File::open(&args.prompts).with_context(|| format!("cannot read {file}"))?;
    let mut requests = Vec::new();
    for (index, line) in BufReader::new(reader).lines().enumerate() {
        let line = line.with_context(|| format!("cannot read {file}"))?;
        if line.trim().is_empty() {
            continue;
        }
        let request: Value = serde_json::from_str(&line)
            .with_context(|| format!("{file}, line {}: it is not JSON", index + 1))?;
        let Value::Object(mut request) = request else {
            bail!(
                "{file}, line {}: expected an object with messages",
                index + 1
            );
        };
        request.insert("model".to_owned(), Value::from(args.route.as_str()));
        request.remove("stream");
        requests.push(request);
    }
    Ok(requests)
}

fn send(
    agent: &ureq::Agent,
    args: &ReplayArgs,
    line: usize,
    request: &Map<String, Value>,
    arm: &str,
) -> anyhow::Result<()> {
    let url = format!("{}/v1/chat/completions", args.url.trim_end_matches('/'));
    let mut post = agent
        .post(url)
        .header("content-type", "application/json")
        .header("x-farthing-arm", arm)
        .header("x-farthing-replay", line.to_string())
        .config()
        .http_status_as_error(false)
        .build();
    if let Some(key) = &args.api_key {
        post = post.header("authorization", format!("Bearer {key}"));
    }
    let mut response = post.send(serde_json::to_vec(request)?)?;
    let body = response.body_mut().read_to_string()?;
    if response.status().is_success() {
        return Ok(());
    }
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    let message = body["error"]["message"]
        .as_str()
        .unwrap_or("no reason given");
    bail!("status {}: {message}", response.status().as_u16())
}
