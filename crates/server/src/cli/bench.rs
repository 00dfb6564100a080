//! `farthing bench`: load on a server with OpenAI's API, and the cost of its tokens.

mod progress;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use clap::ValueEnum;
use farthing_economics::HourlyPrice;
use farthing_loadgen::{
    Arrivals, Assignment, Backend, BenchConfig, BenchConfigError, Lengths, RandomLengths, Slo,
    SloLimit, Stop, Target, Trace, TraceFormat, Traffic, bench,
};
use serde_json::{Map, Value};

use super::output;
use crate::visible::visible_lines;
use progress::ProgressLine;

/// Flags of `bench`. Those that vLLM's benchmark has too have vLLM's names.
#[derive(Clone, Debug, clap::Args)]
pub struct BenchArgs {
    /// The server's URL, with or without /v1
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8000")]
    pub base_url: String,
    /// API to use: chat or completions
    #[arg(long, value_enum, default_value_t)]
    pub backend: BackendArg,
    /// Path to use instead of the backend's
    #[arg(long, value_name = "PATH")]
    pub endpoint: Option<String>,
    /// Model to request; several are separated by commas and used like --lora-modules [default: the
    /// server's first model]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub model: Vec<String>,
    /// Adapters to request instead of the model
    #[arg(long, value_name = "NAME", num_args = 1.., alias = "adapters", conflicts_with = "model")]
    pub lora_modules: Vec<String>,
    /// How requests are assigned to several models or adapters
    #[arg(long, value_enum, default_value_t)]
    pub lora_assignment: AssignmentArg,
    /// Environment variable with the API key of the server
    #[arg(long, value_name = "VARIABLE")]
    pub api_key_env: Option<String>,
    /// Additional fields of each request, as a JSON object
    #[arg(long, value_name = "JSON", value_parser = json_object)]
    pub extra_body: Option<JsonObject>,
    /// Continue answers to their full length past the model's end-of-sequence token, if the server
    /// supports it
    #[arg(long)]
    pub ignore_eos: bool,
    /// Sampling temperature; 0 is greedy [default: the server's]
    #[arg(long, value_name = "TEMPERATURE", value_parser = not_negative)]
    pub temperature: Option<f64>,
    /// Time limit of an answer in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600.0, value_parser = positive)]
    pub timeout: f64,

    /// Source of lengths and, for traces, of arrival times
    #[arg(long, value_enum, default_value_t)]
    pub dataset_name: DatasetArg,
    /// File with the trace
    #[arg(long, value_name = "FILE", required_if_eq_any = [("dataset_name", "azure"), ("dataset_name", "mooncake")])]
    pub dataset_path: Option<PathBuf>,
    /// Tokens per prompt, chat template included
    #[arg(long, value_name = "TOKENS", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..))]
    pub random_input_len: u64,
    /// Tokens per answer
    #[arg(long, value_name = "TOKENS", default_value_t = 128, value_parser = clap::value_parser!(u64).range(1..))]
    pub random_output_len: u64,
    /// Relative range of both lengths: they are uniform within this share above and below
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = below_one)]
    pub random_range_ratio: f64,
    /// Tokens of a common prefix of all prompts, in addition to their own tokens
    #[arg(long, value_name = "TOKENS", default_value_t = 0)]
    pub random_prefix_len: u64,
    /// Truncate the prompts of a trace to this number of tokens
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_input_len: Option<u64>,
    /// Truncate the answers of a trace to this number of tokens
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_output_len: Option<u64>,
    /// Factor by which a trace is sped up
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = positive, conflicts_with = "request_rate")]
    pub trace_speed: f64,

    /// Number of measured requests
    #[arg(long, value_name = "REQUESTS", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub num_prompts: u32,
    /// Send requests for this time instead of a given number
    #[arg(long, value_name = "SECONDS", value_parser = positive, conflicts_with = "num_prompts")]
    pub duration: Option<f64>,
    /// Requests per second, at random times; inf sends all at once, limited by --max-concurrency
    /// [default: as in the trace, else inf]
    #[arg(long, value_name = "RATE", value_parser = positive_or_infinite)]
    pub request_rate: Option<f64>,
    /// Shape of the arrivals: 1 is a Poisson process, less is more bursty, more is more even
    #[arg(long, value_name = "SHAPE", default_value_t = 1.0, value_parser = positive)]
    pub burstiness: f64,
    /// Maximum number of concurrent requests; without a rate, this is a closed loop [default: 8
    /// without a rate and a trace]
    #[arg(long, value_name = "REQUESTS", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_concurrency: Option<u32>,
    /// Number of warm-up requests before the measured ones [default: the concurrency, else 8]
    #[arg(long, value_name = "REQUESTS")]
    pub num_warmups: Option<u32>,
    /// Seed of the requests; the same seed sends the same requests, which a prefix cache may know
    #[arg(long, default_value_t = 0)]
    pub seed: u64,

    /// Limits of a good answer: ttft:MS, tpot:MS, e2el:MS
    #[arg(long, value_name = "METRIC:MS", num_args = 1..)]
    pub goodput: Vec<SloLimit>,
    /// Search for the highest rate at which enough answers are good, and the cost of tokens there
    #[arg(long, requires = "goodput")]
    pub find_slo_rate: bool,
    /// Share of answers that have to be good
    #[arg(long, value_name = "SHARE", default_value_t = 0.95, value_parser = below_one)]
    pub slo_attainment: f64,
    /// Requests per tried rate; more if they would take less than 20 s
    #[arg(long, value_name = "REQUESTS", default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..))]
    pub slo_num_prompts: u32,
    /// Also measure full load: a closed loop with this concurrency
    #[arg(long, value_name = "REQUESTS", num_args = 0..=1, default_missing_value = "64", value_parser = clap::value_parser!(u32).range(1..))]
    pub full_load: Option<u32>,
    /// Price of the server's machine in US dollars per hour [default: as reported by the server]
    #[arg(long, value_name = "USD")]
    pub price_per_hour: Option<HourlyPrice>,
    /// Number of GPUs of that machine
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub gpus: u32,

    /// Percentiles to report
    #[arg(long, value_name = "PERCENT", value_delimiter = ',', default_value = "95,99", value_parser = percentile)]
    pub metric_percentiles: Vec<f64>,
    /// Title of the report
    #[arg(long)]
    pub label: Option<String>,
    /// Write the report as JSON, for `farthing compare --bench`
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the report as an HTML page with plots
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// vLLM's `--backend`, as far as it applies.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum BackendArg {
    /// /v1/chat/completions
    #[default]
    OpenaiChat,
    /// /v1/completions
    Openai,
}

/// vLLM's `--lora-assignment`.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum AssignmentArg {
    /// At random
    #[default]
    Random,
    /// In turn
    RoundRobin,
}

/// vLLM's `--dataset-name`, and the traces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DatasetArg {
    /// Random words
    #[default]
    Random,
    /// Azure's CSV: TIMESTAMP,ContextTokens,GeneratedTokens
    Azure,
    /// Mooncake's JSON lines: timestamp, input_length, output_length, hash_ids
    Mooncake,
}

/// Additional fields of a request.
pub type JsonObject = Map<String, Value>;

const DEFAULT_CONCURRENCY: usize = 8;
const DEFAULT_WARM_UP: usize = 8;

/// Runs the benchmark, prints the report and writes it to files.
///
/// # Errors
/// The flags contradict each other, the server does not answer, or a report cannot be written.
pub fn run(args: &BenchArgs) -> anyhow::Result<()> {
    let config = args.config()?;
    for path in [&args.json, &args.html].into_iter().flatten() {
        ensure_writable(path)?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let progress = ProgressLine::new();
    runtime.spawn(stop_by_hand(config.stop.clone()));
    let report = runtime.block_on(bench(&config, &|it| progress.show(it)));
    progress.finish();
    let report = report?;
    // It quotes what the server answered.
    output::print(visible_lines(&report.to_string()))?;
    if let Some(path) = &args.json {
        let json = serde_json::to_string_pretty(&report)? + "\n";
        fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &args.html {
        let page = report.html();
        fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

impl BenchArgs {
    fn config(&self) -> anyhow::Result<BenchConfig> {
        let backend = match self.backend {
            BackendArg::OpenaiChat => Backend::Chat,
            BackendArg::Openai => Backend::Completions,
        };
        let mut target = Target::new(&self.base_url, backend, self.endpoint.as_deref())?;
        target.ignore_eos = self.ignore_eos;
        target.temperature = self.temperature;
        target.extra_body = self.extra_body.clone().unwrap_or_default();
        let slo: Option<Slo> =
            (!self.goodput.is_empty()).then(|| self.goodput.iter().copied().collect());
        let config = BenchConfig {
            target,
            api_key_env: self.api_key_env.clone(),
            timeout: Duration::from_secs_f64(self.timeout),
            traffic: self.traffic()?,
            slo,
            slo_attainment: self.find_slo_rate.then_some(self.slo_attainment),
            slo_requests: self.slo_num_prompts as usize,
            full_load_concurrency: self.full_load.map(|it| it as usize),
            price_per_hour: self.price_per_hour,
            gpus: self.gpus,
            percentiles: self.metric_percentiles.clone(),
            label: self.label.clone(),
            stop: Stop::default(),
        };
        config.check().map_err(|error| match error {
            BenchConfigError::NoConcurrency => anyhow!("{error}: give --max-concurrency"),
            BenchConfigError::NoSlo => anyhow!("{error}: give --goodput"),
            error => error.into(),
        })?;
        Ok(config)
    }

    fn traffic(&self) -> anyhow::Result<Traffic> {
        let lengths = self.lengths()?;
        let arrivals = match (self.request_rate, &lengths) {
            (Some(rate), _) if rate.is_finite() => Arrivals::Random {
                rate,
                burstiness: self.burstiness,
            },
            (None, Lengths::Trace(_)) => Arrivals::Trace {
                speed: self.trace_speed,
            },
            _ => Arrivals::AtOnce,
        };
        let is_nothing_said = self.request_rate.is_none() && arrivals == Arrivals::AtOnce;
        let max_concurrency = match self.max_concurrency {
            None => is_nothing_said.then_some(DEFAULT_CONCURRENCY),
            Some(concurrency) => Some(concurrency as usize),
        };
        let is_closed_loop = arrivals == Arrivals::AtOnce;
        let warm_up_requests = match (self.num_warmups, max_concurrency) {
            (Some(requests), _) => requests as usize,
            (None, Some(concurrency)) if is_closed_loop => concurrency,
            // A burst needs no warm-up.
            (None, None) if is_closed_loop => 0,
            (None, _) => DEFAULT_WARM_UP,
        };
        let models = self.model.iter().chain(&self.lora_modules);
        Ok(Traffic {
            lengths,
            arrivals,
            max_concurrency,
            requests: self.num_prompts as usize,
            duration_seconds: self.duration,
            warm_up_requests,
            models: models.map(|name| Arc::from(name.as_str())).collect(),
            assignment: match self.lora_assignment {
                AssignmentArg::Random => Assignment::Random,
                AssignmentArg::RoundRobin => Assignment::RoundRobin,
            },
            seed: self.seed,
        })
    }

    fn lengths(&self) -> anyhow::Result<Lengths> {
        let format = match self.dataset_name {
            DatasetArg::Azure => TraceFormat::Azure,
            DatasetArg::Mooncake => TraceFormat::Mooncake,
            DatasetArg::Random => {
                ensure!(
                    self.dataset_path.is_none(),
                    "--dataset-path needs --dataset-name azure or mooncake"
                );
                return Ok(Lengths::Random(RandomLengths {
                    input: self.random_input_len,
                    output: self.random_output_len,
                    range_ratio: self.random_range_ratio,
                    prefix: self.random_prefix_len,
                }));
            }
        };
        let Some(path) = &self.dataset_path else {
            bail!("trace file missing: pass --dataset-path");
        };
        let mut trace = Trace::read(path, format)?;
        let most = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
        let shortened = trace.shorten(most(self.max_input_len), most(self.max_output_len));
        if shortened > 0 {
            let all = trace.requests().len();
            output::tell(&format!(
                "truncated {shortened} of the trace's {all} requests"
            ));
        }
        Ok(Lengths::Trace(Arc::new(trace)))
    }
}

/// The first Ctrl-C ends the load, the second the process.
async fn stop_by_hand(stop: Stop) {
    if tokio::signal::ctrl_c().await.is_err() {
        return;
    }
    stop.request();
    output::tell(
        "\nstopping: the report follows when running requests end; press Ctrl-C again to abort",
    );
    if tokio::signal::ctrl_c().await.is_ok() {
        // The exit status of a process that SIGINT ended.
        std::process::exit(130);
    }
}

/// Fails before the benchmark instead of after it.
fn ensure_writable(path: &Path) -> anyhow::Result<()> {
    let directory = path.parent().filter(|it| !it.as_os_str().is_empty());
    let is_there = directory.is_none_or(Path::is_dir);
    ensure!(
        is_there && !path.is_dir(),
        "cannot write {}: its directory does not exist, or it is a directory",
        path.display()
    );
    Ok(())
}

fn json_object(text: &str) -> Result<JsonObject, String> {
    let read: Result<JsonObject, _> = serde_json::from_str(text);
    read.map_err(|error| format!("expected a JSON object, for example {{\"top_k\": 1}} ({error})"))
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(figure) if figure > 0.0 && figure < 1e9 => Ok(figure),
        _ => Err("expected a number above 0, for example 2.5".to_owned()),
    }
}

fn positive_or_infinite(text: &str) -> Result<f64, String> {
    match text {
        "inf" => Ok(f64::INFINITY),
        text => positive(text).map_err(|_| "expected requests per second, or inf".to_owned()),
    }
}

fn not_negative(text: &str) -> Result<f64, String> {
    match text {
        "0" | "0.0" => Ok(0.0),
        text => positive(text),
    }
}

fn below_one(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..1.0).contains(&share) => Ok(share),
        _ => Err("expected a share from 0 to below 1, for example 0.2".to_owned()),
    }
}

fn percentile(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("expected percentages, for example 50,95,99".to_owned()),
    }
}

#[cfg(test)]
mod tests;
