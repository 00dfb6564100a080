//! The command line as typed.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use farthing_economics::HourlyPrice;
use farthing_model::SimdLevel;

use super::bench::BenchArgs;
use super::compare::CompareArgs;
use super::inspect::InspectArgs;
use super::ledger::LedgerArgs;
use super::ledger_arg::LedgerArg;
use super::price::PriceArgs;
use super::selftest::SelfTestArgs;
use super::tco::TcoArgs;
use super::values::{
    AdapterArg, DEMO_MODEL, DeviceArg, DtypeArg, Gib, LoadFormatArg, parse_gib, parse_rate,
    parse_share,
};
use crate::http::admin_key::AdminKey;

/// Serves Llama and Mistral models with LoRA adapters, and says what each answer cost.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

/// What the binary can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve a model over OpenAI's API (also what happens without a subcommand)
    Serve(Box<ServeArgs>),
    /// Compare every operation with its CPU twin, and measure how fast this machine is
    Selftest(SelfTestArgs),
    /// Look at LoRA adapters
    #[command(subcommand)]
    Adapters(AdaptersCommand),
    /// Reckon what the same traffic costs at an API and on GPUs of one's own
    Tco(TcoArgs),
    /// Tell what a request costs at a vendor, or list the prices that are known
    Price(PriceArgs),
    /// Compare one's own cost with dated vendor prices on the same work
    Compare(CompareArgs),
    /// Put load on a server with OpenAI's API, and tell how fast it is and what its tokens cost
    Bench(Box<BenchArgs>),
    /// Read what the ledger tells of requests and their costs
    Ledger(LedgerArgs),
}

/// What can be done with adapters.
#[derive(Debug, Subcommand)]
pub enum AdaptersCommand {
    /// Tell what an adapter is, and whether it is served exactly as PEFT computes it
    Inspect(InspectArgs),
}

impl Args {
    /// What to do.
    pub fn into_command(self) -> Command {
        self.command
            .unwrap_or_else(|| Command::Serve(Box::new(self.serve)))
    }
}

/// Flags of `serve`; those that vLLM has too carry its names.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeArgs {
    /// A model by name (smollm2-135m-instruct, …), a directory, a .gguf file or a hub id
    #[arg(long, default_value = DEMO_MODEL)]
    pub model: String,
    /// Branch, tag or commit on the hub
    #[arg(long)]
    pub revision: Option<String>,
    /// Where the weights come from; dummy makes random ones from the config alone
    #[arg(long, value_enum, default_value_t)]
    pub load_format: LoadFormatArg,
    /// Type of the weights and the KV cache; auto is the model's own
    #[arg(long, value_enum, default_value_t)]
    pub dtype: DtypeArg,
    /// Where to compute: auto (a GPU if there is one), cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    pub device: DeviceArg,
    /// Hold the CPU's kernels to a level of instructions, to compare levels: portable, avx2,
    /// avx512 or avx512-bf16, on aarch64 portable, neon or neon-bf16 [default: the best that the CPU
    /// has]
    #[arg(long, value_name = "LEVEL")]
    pub simd_level: Option<SimdLevel>,

    /// A LoRA adapter in PEFT's format, served as a model of that name; may be repeated
    #[arg(long = "adapter", value_name = "NAME=DIR")]
    pub adapters: Vec<AdapterArg>,
    /// A directory whose adapters may be loaded, also by the first request that names one
    #[arg(long, value_name = "DIR")]
    pub adapter_dir: Option<PathBuf>,
    /// Let adapters come from the hub, by requests that name OWNER/NAME too
    #[arg(long)]
    pub adapters_from_hub: bool,
    /// Adapters on the device, and so of a batch
    #[arg(
        long,
        alias = "max-loras",
        value_name = "ADAPTERS",
        default_value_t = 8
    )]
    pub max_adapters: usize,
    /// Adapters in host memory, the least recently used given up first; at least --max-adapters
    #[arg(long, value_name = "ADAPTERS", default_value_t = 128)]
    pub max_cpu_loras: usize,
    /// Host memory for adapters [default: a quarter of what is free, at most 4 GiB]
    #[arg(long, value_name = "GIB", value_parser = parse_gib)]
    pub adapter_memory: Option<Gib>,
    /// Largest rank of an adapter
    #[arg(long, value_name = "RANK", default_value_t = 64)]
    pub max_lora_rank: usize,
    /// The key that loading and unloading adapters over HTTP asks for; without one nobody may
    #[arg(
        long,
        value_name = "KEY",
        env = "FARTHING_ADMIN_KEY",
        hide_env_values = true
    )]
    pub admin_key: Option<AdminKey>,
    /// What requests call the model; several names may be given
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub served_model_name: Vec<String>,

    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 8000)]
    pub port: u16,
    /// Seconds that running answers have to end after SIGTERM
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub shutdown_timeout: u64,

    /// Tokens of the longest sequence, prompt and answer together [default: the model's]
    #[arg(long, value_name = "TOKENS")]
    pub max_model_len: Option<usize>,
    /// Sequences that run at once [default: 1024 on a GPU of 70 GiB or more that is no A100, 256 on another,
    /// 64 on the CPU]
    #[arg(long)]
    pub max_num_seqs: Option<usize>,
    /// Tokens that one step computes: more make prompts faster and running answers wait longer [default:
    /// 8192 on a GPU of 70 GiB or more that is no A100, 2048 on another, 512 on the CPU]
    #[arg(long)]
    pub max_num_batched_tokens: Option<usize>,
    /// Sequences that may wait or run at once; more are answered with 429
    #[arg(long, value_name = "SEQUENCES", default_value_t = 1024)]
    pub max_queue: usize,
    /// Memory for the KV cache [default: on the CPU 8 full contexts, at most 4 GiB and half of what is
    /// free; on a GPU what --gpu-memory-utilization leaves]
    #[arg(long, value_name = "GIB", value_parser = parse_gib)]
    pub kv_cache_memory: Option<Gib>,
    /// Share of a GPU's memory that weights, KV cache, adapters and activations take together, whoever
    /// has the rest
    #[arg(long, value_name = "SHARE", default_value_t = 0.92, value_parser = parse_share)]
    pub gpu_memory_utilization: f64,

    /// What this machine costs in US dollars an hour; answers then tell their cost in dollars
    #[arg(long, value_name = "USD")]
    pub price_per_hour: Option<HourlyPrice>,
    /// Where every request is noted with what it cost: a file, a postgres:// URL, or none
    /// [default: ~/.local/share/farthing/ledger.sqlite3]
    #[arg(
        long,
        value_name = "PATH|URL",
        env = "FARTHING_LEDGER",
        hide_env_values = true
    )]
    pub ledger: Option<LedgerArg>,
    /// Tokens a second (prompt, cached and generated) that this machine carries within its service
    /// level, as a benchmark finds it; costs are then also told at that capacity
    #[arg(long, value_name = "TOKENS", value_parser = parse_rate)]
    pub slo_tokens_per_second: Option<f64>,
    /// Measure how long steps take even where an earlier start has
    #[arg(long)]
    pub recalibrate: bool,
}
