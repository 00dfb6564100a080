//! The command line before validation.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use farthing_economics::HourlyPrice;
use farthing_model::SimdLevel;

use super::bench::BenchArgs;
use super::check_config::CheckConfigArgs;
use super::compare::CompareArgs;
use super::experiment::ExperimentArgs;
use super::inspect::InspectArgs;
use super::keys::KeysArgs;
use super::ledger::LedgerArgs;
use super::ledger_arg::LedgerArg;
use super::price::PriceArgs;
use super::render::RenderArgs;
use super::replay::ReplayArgs;
use super::selftest::SelfTestArgs;
use super::tco::TcoArgs;
use super::values::{
    AdapterArg, DEMO_MODEL, DeviceArg, DtypeArg, GenerationConfigArg, Gib, LoadFormatArg,
    parse_gib, parse_rate, parse_share,
};
use crate::http::admin_key::AdminKey;
use crate::http::cors::CorsOrigin;
use crate::http::hosts::HostName;

/// Serves Llama, Mistral, Qwen and related models with LoRA adapters, and reports the cost of each answer
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve a model over OpenAI's API (the default without a subcommand)
    Serve(Box<ServeArgs>),
    /// Print the prompt that a model gets for some messages
    Render(RenderArgs),
    /// Compare every operation with the CPU's, and measure the speed of this machine
    Selftest(SelfTestArgs),
    /// Inspect LoRA adapters
    #[command(subcommand)]
    Adapters(AdaptersCommand),
    /// Compute the cost of the same traffic at an API and on own GPUs
    Tco(TcoArgs),
    /// Compute the cost of a request at a vendor, or list the known prices
    Price(PriceArgs),
    /// Compare the own cost with dated vendor prices for the same work
    Compare(CompareArgs),
    /// Benchmark a server with OpenAI's API: its speed and the cost of its tokens
    Bench(Box<BenchArgs>),
    /// Check a routes file, and say what each route does
    CheckConfig(CheckConfigArgs),
    /// Report what an experiment has shown: figures, intervals, verdict
    Experiment(ExperimentArgs),
    /// Send prompts to both arms of an experiment
    Replay(ReplayArgs),
    /// Make, list and revoke the keys of callers
    Keys(KeysArgs),
    /// Read requests and their costs from the ledger
    Ledger(LedgerArgs),
}

/// Subcommands of `adapters`.
#[derive(Debug, Subcommand)]
pub enum AdaptersCommand {
    /// Describe an adapter, and check whether it is served exactly as PEFT computes it
    Inspect(InspectArgs),
}

impl Args {
    /// The subcommand to run.
    pub fn into_command(self) -> Command {
        self.command
            .unwrap_or_else(|| Command::Serve(Box::new(self.serve)))
    }
}

/// Flags of `serve`. Those that vLLM has too have vLLM's names.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeArgs {
    /// The model: a name (smollm2-135m-instruct, …), a directory, a .gguf file or a hub id
    #[arg(long, default_value = DEMO_MODEL)]
    pub model: String,
    /// Branch, tag or commit on the hub
    #[arg(long)]
    pub revision: Option<String>,
    /// File with a chat template (Jinja) to use instead of the model's own
    #[arg(long, value_name = "FILE")]
    pub chat_template: Option<PathBuf>,
    /// Defaults of requests for temperature, top_p, top_k, min_p and repetition_penalty: auto takes the
    /// model's generation_config.json; vllm and none are neutral
    #[arg(long, value_enum, default_value_t)]
    pub generation_config: GenerationConfigArg,
    /// Format of the weights; dummy generates random weights from the config
    #[arg(long, value_enum, default_value_t)]
    pub load_format: LoadFormatArg,
    /// Type of the weights and the KV cache; auto takes the model's own type
    #[arg(long, value_enum, default_value_t)]
    pub dtype: DtypeArg,
    /// Device to compute on: auto (a GPU if there is one), cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    pub device: DeviceArg,
    /// Limit the CPU kernels to an instruction set, for comparisons: portable, avx2, avx512 or
    /// avx512-bf16; on aarch64 portable, neon or neon-bf16 [default: the best that the CPU
    /// supports]
    #[arg(long, value_name = "LEVEL")]
    pub simd_level: Option<SimdLevel>,

    /// A LoRA adapter in PEFT's format and its model name; may be repeated
    #[arg(long = "adapter", value_name = "NAME=DIR")]
    pub adapters: Vec<AdapterArg>,
    /// Directory of adapters that requests may load, also by using their name
    #[arg(long, value_name = "DIR")]
    pub adapter_dir: Option<PathBuf>,
    /// Also load adapters from the hub, if a request uses OWNER/NAME
    #[arg(long)]
    pub adapters_from_hub: bool,
    /// Maximum number of adapters on the device, and so in a batch
    #[arg(
        long,
        alias = "max-loras",
        value_name = "ADAPTERS",
        default_value_t = 8
    )]
    pub max_adapters: usize,
    /// Maximum number of adapters in host memory, at least --max-adapters; the least recently used
    /// is evicted first
    #[arg(long, value_name = "ADAPTERS", default_value_t = 128)]
    pub max_cpu_loras: usize,
    /// Host memory for adapters [default: a quarter of the free memory, at most 4 GiB]
    #[arg(long, value_name = "GIB", value_parser = parse_gib)]
    pub adapter_memory: Option<Gib>,
    /// Maximum rank of an adapter
    #[arg(long, value_name = "RANK", default_value_t = 64)]
    pub max_lora_rank: usize,
    /// Key file: only callers with one of its keys are answered, within the key's limits; `farthing
    /// keys` makes it, and changes take effect while the server runs
    #[arg(long, value_name = "FILE", env = "FARTHING_KEYS")]
    pub keys: Option<PathBuf>,
    /// Answer everybody on an address other than loopback
    #[arg(long, conflicts_with = "keys")]
    pub insecure_no_keys: bool,
    /// Key of the operator: loads and unloads adapters over HTTP, and with --keys also reads figures
    /// and costs
    #[arg(
        long,
        value_name = "KEY",
        env = "FARTHING_ADMIN_KEY",
        hide_env_values = true
    )]
    pub admin_key: Option<AdminKey>,
    /// Routes file: model names that several arms answer, this server's models and vendors'; `farthing
    /// check-config` checks it, and changes take effect while the server runs
    #[arg(long, value_name = "FILE", env = "FARTHING_ROUTES")]
    pub routes: Option<PathBuf>,
    /// Name of the model in the API; several may be given
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub served_model_name: Vec<String>,

    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Port to listen on; 0 selects a free port
    #[arg(long, default_value_t = 8000)]
    pub port: u16,
    /// Host name that requests may be sent to, besides localhost and addresses; may be repeated
    /// [default: any if --host is not a loopback address]
    #[arg(long = "allowed-host", value_name = "NAME")]
    pub allowed_hosts: Vec<HostName>,
    /// Origin of web pages that may use the API from a browser, or * for all; may be repeated
    #[arg(long = "cors-origin", value_name = "ORIGIN")]
    pub cors_origins: Vec<CorsOrigin>,
    /// Certificate with its chain, as PEM: serves https; read again when the file changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate, as PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Seconds that running answers get to end after SIGTERM
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub shutdown_timeout: u64,

    /// Maximum number of tokens of a sequence, prompt and answer together [default: the model's
    /// limit]
    #[arg(long, value_name = "TOKENS")]
    pub max_model_len: Option<usize>,
    /// Maximum number of running sequences [default: 1024 on a GPU of at least 70 GiB other than an
    /// A100, 256 on other GPUs, 64 on the CPU]
    #[arg(long)]
    pub max_num_seqs: Option<usize>,
    /// Maximum number of tokens per step: more make prompts faster but delay running answers
    /// [default: 8192 on a GPU of at least 70 GiB other than an A100, 2048 on other GPUs, 512 on
    /// the CPU]
    #[arg(long)]
    pub max_num_batched_tokens: Option<usize>,
    /// Maximum number of waiting and running sequences; further requests get a 429
    #[arg(long, value_name = "SEQUENCES", default_value_t = 1024)]
    pub max_queue: usize,
    /// Memory for the KV cache [default: on the CPU 8 full contexts, at most 4 GiB and half of the
    /// free memory; on a GPU what --gpu-memory-utilization leaves]
    #[arg(long, value_name = "GIB", value_parser = parse_gib)]
    pub kv_cache_memory: Option<Gib>,
    /// Share of a GPU's memory for weights, KV cache, adapters and activations together
    #[arg(long, value_name = "SHARE", default_value_t = 0.92, value_parser = parse_share)]
    pub gpu_memory_utilization: f64,

    /// Price of this machine in US dollars per hour; with it, answers report their cost in dollars
    #[arg(long, value_name = "USD")]
    pub price_per_hour: Option<HourlyPrice>,
    /// Where requests and their costs are recorded: a file, a postgres:// URL, or none [default:
    /// ~/.local/share/farthing/ledger.sqlite3]
    #[arg(
        long,
        value_name = "PATH|URL",
        env = "FARTHING_LEDGER",
        hide_env_values = true
    )]
    pub ledger: Option<LedgerArg>,
    /// Capacity of this machine within its service level in tokens per second (prompt, cached and
    /// generated), as measured by a benchmark; costs are then also reported at capacity
    #[arg(long, value_name = "TOKENS", value_parser = parse_rate)]
    pub slo_tokens_per_second: Option<f64>,
    /// Measure the time of steps again instead of using the result of an earlier start
    #[arg(long)]
    pub recalibrate: bool,
}
