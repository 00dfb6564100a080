//! Typed values of flags.

use std::path::PathBuf;
use std::str::FromStr;

use clap::ValueEnum;
use farthing_model::DeviceKind;

use crate::models::LocalAdapter;

/// The default model.
pub(crate) const DEMO_MODEL: &str = "smollm2-135m-instruct";

/// vLLM's `--load-format`, as far as it is supported.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum LoadFormatArg {
    /// Depends on the files.
    #[default]
    Auto,
    /// `config.json` and safetensors.
    Safetensors,
    /// One .gguf file.
    Gguf,
    /// Random weights.
    Dummy,
}

/// vLLM's `--generation-config`, without its folder.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum GenerationConfigArg {
    /// The model's own.
    #[default]
    Auto,
    /// vLLM's neutral defaults.
    Vllm,
    /// The same.
    None,
}

/// vLLM's `--dtype`, as far as it is supported.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum DtypeArg {
    /// The model's own type, else bf16.
    #[default]
    Auto,
    /// bfloat16 weights and cache.
    #[value(alias = "bfloat16")]
    Bf16,
    /// Single precision throughout.
    #[value(aliases = ["float32", "float"])]
    F32,
}

/// The device to compute on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceArg {
    /// A GPU if there is one, else the CPU.
    Auto,
    /// A given device.
    Device(DeviceKind),
}

impl DeviceArg {
    /// The device to use. If a build for GPUs falls back to the CPU, `say` gets the reason.
    pub(crate) fn choose(self, say: &dyn Fn(&str)) -> DeviceKind {
        match self {
            Self::Device(device) => device,
            Self::Auto => {
                let (device, no_gpu) = DeviceKind::best();
                if let Some(why) = no_gpu {
                    say(&format!("computing on the CPU: {why}"));
                }
                device
            }
        }
    }
}

impl FromStr for DeviceArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            _ => match text.parse() {
                Ok(device) => Ok(Self::Device(device)),
                Err(_) => Err("expected auto, cpu, cuda, or cuda:1 for the second GPU".to_owned()),
            },
        }
    }
}

/// An adapter and its model name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterArg {
    /// The name that requests use.
    pub name: String,
    /// Its directory.
    pub directory: PathBuf,
}

impl From<AdapterArg> for LocalAdapter {
    fn from(AdapterArg { name, directory }: AdapterArg) -> Self {
        Self { name, directory }
    }
}

impl FromStr for AdapterArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, directory)) if !name.is_empty() && !directory.is_empty() => Ok(Self {
                name: name.to_owned(),
                directory: directory.into(),
            }),
            _ => Err("expected NAME=DIR, for example legal=adapters/legal".to_owned()),
        }
    }
}

/// An amount of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gib {
    /// In bytes.
    pub bytes: usize,
}

pub(crate) fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate.is_finite() => Ok(rate),
        _ => Err("expected tokens per second above 0, for example 2500".to_owned()),
    }
}

pub(crate) fn parse_share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err("expected a share above 0 and at most 1, for example 0.9".to_owned()),
    }
}

pub(crate) fn parse_gib(text: &str) -> Result<Gib, String> {
    match text.parse::<f64>() {
        Ok(gib) if gib > 0.0 && gib < 1e6 => Ok(Gib {
            bytes: (gib * (1u64 << 30) as f64) as usize,
        }),
        _ => Err("expected gibibytes above 0, for example 2 or 0.5".to_owned()),
    }
}
