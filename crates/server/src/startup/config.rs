//! The validated command line, as far as that is possible without the model's files.

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use farthing_economics::HourlyPrice;
use farthing_keys::KeyFile;
use farthing_ledger::Location;
use farthing_model::{ComputeType, DeviceKind, LoadFormat};

use crate::cli::args::ServeArgs;
use crate::cli::ledger_arg::{LedgerArg, default_location};
use crate::cli::values::{DEMO_MODEL, DtypeArg, GenerationConfigArg, LoadFormatArg};
use crate::http::admin_key::AdminKey;
use crate::http::cors::CorsOrigin;
use crate::http::hosts::HostName;
use crate::http::tls::{Tls, TlsError};
use crate::log;
use crate::models::LocalAdapter;
use crate::startup::generation_config::DefaultsChoice;

/// The default limits of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct StepLimits {
    max_num_seqs: usize,
    max_num_batched_tokens: usize,
}

impl StepLimits {
    fn of(device: DeviceKind) -> Self {
        match device.gpu() {
            Ok(None) => Self {
                max_num_seqs: 64,
                max_num_batched_tokens: 512,
            },
            Ok(Some(gpu)) => Self::of_gpu(&gpu.name, gpu.total_bytes),
            // An unusable GPU is reported when it is opened.
            Err(_) => Self::of_gpu("", 0),
        }
    }

    /// vLLM's rule for its server: large steps make an A100 slower, even if it has enough memory.
    fn of_gpu(name: &str, total_bytes: usize) -> Self {
        let is_large = total_bytes >= 70 << 30 && !name.to_lowercase().contains("a100");
        if is_large {
            Self {
                max_num_seqs: 1024,
                max_num_batched_tokens: 8192,
            }
        } else {
            Self {
                max_num_seqs: 256,
                max_num_batched_tokens: 2048,
            }
        }
    }
}

/// The approximate price of a 2-core machine in US dollars per hour. The demo uses it if no price
/// is given.
const EXAMPLE_PRICE: &str = "0.10";

/// Everything that `serve` needs.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub model: ModelChoice,
    pub adapters: AdapterChoice,
    pub limits: Limits,
    pub http: HttpConfig,
    /// The routes file.
    pub routes: Option<PathBuf>,
    pub price: Price,
    /// `None` keeps no ledger.
    pub ledger: Option<Location>,
    pub slo_tokens_per_second: Option<f64>,
    pub recalibrate: bool,
}

/// The model and its format. `None` is the model's own default.
#[derive(Clone, Debug)]
pub(crate) struct ModelChoice {
    pub model: String,
    pub revision: Option<String>,
    pub load_format: LoadFormat,
    pub compute_type: Option<ComputeType>,
    pub device: DeviceKind,
    pub served_names: Vec<String>,
    /// A file whose chat template replaces the model's own.
    pub chat_template: Option<PathBuf>,
    pub sampling_defaults: DefaultsChoice,
}

/// The adapters and their limits.
#[derive(Clone, Debug)]
pub(crate) struct AdapterChoice {
    /// Adapters to serve from the start.
    pub named: Vec<LocalAdapter>,
    pub directory: Option<PathBuf>,
    pub from_hub: bool,
    pub max_on_device: usize,
    pub max_in_host_memory: usize,
    /// `None` depends on free memory.
    pub host_bytes: Option<usize>,
    pub max_rank: usize,
}

/// Limits of concurrency and memory. `None` depends on the model and the machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub max_model_len: Option<usize>,
    pub kv_cache_bytes: Option<usize>,
    /// Share of the total memory of a GPU.
    pub gpu_memory_utilization: f64,
    pub max_num_seqs: usize,
    pub max_num_batched_tokens: usize,
    pub max_queued_sequences: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct HttpConfig {
    pub address: SocketAddr,
    pub shutdown_timeout: Duration,
    pub admin_key: Option<AdminKey>,
    /// `None` answers everybody.
    pub keys: Option<KeyFile>,
    pub allowed_hosts: Vec<HostName>,
    pub cors_origins: Vec<CorsOrigin>,
    pub tls: Option<TlsFiles>,
}

/// The files of a certificate and its key.
#[derive(Clone, Debug)]
pub(crate) struct TlsFiles {
    certificate: PathBuf,
    key: PathBuf,
}

impl TlsFiles {
    pub(crate) fn open(self) -> Result<Tls, TlsError> {
        Tls::open(self.certificate, self.key)
    }
}

/// The price of the machine, and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Price {
    Unknown,
    Example(HourlyPrice),
    Given(HourlyPrice),
}

impl Price {
    pub(crate) fn per_hour(self) -> Option<HourlyPrice> {
        match self {
            Self::Unknown => None,
            Self::Example(price) | Self::Given(price) => Some(price),
        }
    }
}

impl Config {
    /// Whether adapters other than those of the command line may be loaded.
    pub(crate) fn adapters_may_change(&self) -> bool {
        let AdapterChoice {
            directory,
            from_hub,
            ..
        } = &self.adapters;
        directory.is_some() || *from_hub || self.http.admin_key.is_some()
    }
}

impl TryFrom<ServeArgs> for Config {
    type Error = anyhow::Error;

    fn try_from(args: ServeArgs) -> anyhow::Result<Self> {
        let device = args.device.choose(&log::print_progress);
        let step = StepLimits::of(device);
        let max_num_seqs = args.max_num_seqs.unwrap_or(step.max_num_seqs);
        // A default yields to the other limit if that is given.
        let max_num_batched_tokens = args
            .max_num_batched_tokens
            .unwrap_or(step.max_num_batched_tokens.max(max_num_seqs));
        let max_num_seqs = match args.max_num_seqs {
            Some(asked) => asked,
            None => max_num_seqs.min(max_num_batched_tokens),
        };
        for (flag, value) in [
            ("--max-num-seqs", max_num_seqs),
            ("--max-num-batched-tokens", max_num_batched_tokens),
            ("--max-queue", args.max_queue),
            ("--max-model-len", args.max_model_len.unwrap_or(1)),
        ] {
            ensure!(value > 0, "{flag} must be at least 1");
        }
        ensure!(
            max_num_batched_tokens >= max_num_seqs,
            "--max-num-batched-tokens ({}) must be at least --max-num-seqs ({}): each running \
             sequence needs a token per step",
            max_num_batched_tokens,
            max_num_seqs
        );
        ensure!(
            args.max_cpu_loras >= args.max_adapters,
            "--max-cpu-loras ({}) must be at least --max-adapters ({}): adapters on the device \
             are in host memory too",
            args.max_cpu_loras,
            args.max_adapters
        );
        ensure!(
            args.max_adapters > 0
                || (args.adapters.is_empty()
                    && args.adapter_dir.is_none()
                    && !args.adapters_from_hub),
            "--max-adapters 0 serves no adapters: leave out --adapter, --adapter-dir and \
             --adapters-from-hub"
        );
        ensure!(
            args.host.is_loopback() || args.keys.is_some() || args.insecure_no_keys,
            "--host {} lets other machines in: give callers keys with --keys FILE (`farthing keys add` \
             makes them), or answer everybody with --insecure-no-keys",
            args.host
        );
        let mut names = HashSet::new();
        let adapter_names = args.adapters.iter().map(|adapter| &adapter.name);
        for name in adapter_names.chain(&args.served_model_name) {
            ensure!(
                names.insert(name),
                "the name {name:?} is used twice: rename an adapter or a served model"
            );
        }
        let price = match args.price_per_hour {
            Some(price) => Price::Given(price),
            None if args.model == DEMO_MODEL => Price::Example(EXAMPLE_PRICE.parse()?),
            None => Price::Unknown,
        };
        Ok(Self {
            model: ModelChoice {
                model: args.model,
                revision: args.revision,
                load_format: match args.load_format {
                    LoadFormatArg::Auto => LoadFormat::Auto,
                    LoadFormatArg::Safetensors => LoadFormat::Safetensors,
                    LoadFormatArg::Gguf => LoadFormat::Gguf,
                    LoadFormatArg::Dummy => LoadFormat::Dummy,
                },
                compute_type: match args.dtype {
                    DtypeArg::Auto => None,
                    DtypeArg::Bf16 => Some(ComputeType::Bf16),
                    DtypeArg::F32 => Some(ComputeType::F32),
                },
                device,
                served_names: args.served_model_name,
                chat_template: args.chat_template,
                sampling_defaults: match args.generation_config {
                    GenerationConfigArg::Auto => DefaultsChoice::OfModel,
                    GenerationConfigArg::Vllm | GenerationConfigArg::None => {
                        DefaultsChoice::Neutral
                    }
                },
            },
            adapters: AdapterChoice {
                named: args.adapters.into_iter().map(Into::into).collect(),
                directory: args.adapter_dir,
                from_hub: args.adapters_from_hub,
                max_on_device: args.max_adapters,
                max_in_host_memory: match args.max_adapters {
                    0 => 0,
                    _ => args.max_cpu_loras,
                },
                host_bytes: args.adapter_memory.map(|memory| memory.bytes),
                max_rank: args.max_lora_rank,
            },
            limits: Limits {
                max_model_len: args.max_model_len,
                kv_cache_bytes: args.kv_cache_memory.map(|memory| memory.bytes),
                gpu_memory_utilization: args.gpu_memory_utilization,
                max_num_seqs,
                max_num_batched_tokens,
                max_queued_sequences: args.max_queue,
            },
            http: HttpConfig {
                address: SocketAddr::new(args.host, args.port),
                shutdown_timeout: Duration::from_secs(args.shutdown_timeout),
                admin_key: args.admin_key,
                keys: args.keys.map(KeyFile::new),
                allowed_hosts: args.allowed_hosts,
                cors_origins: args.cors_origins,
                tls: match (args.tls_cert, args.tls_key) {
                    (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
                    // Each of the flags requires the other.
                    _ => None,
                },
            },
            routes: args.routes,
            price,
            ledger: match args.ledger {
                Some(LedgerArg::At(location)) => Some(location),
                Some(LedgerArg::None) => None,
                None => Some(default_location()?),
            },
            slo_tokens_per_second: args.slo_tokens_per_second,
            recalibrate: args.recalibrate,
        })
    }
}
