//! `farthing selftest`: compares this machine's results with references, and measures its speed.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::ValueEnum;
use farthing_model::{SimdLevel, use_simd_level};
use farthing_selftest::{Part, SelfTest, SelfTestOptions, Shape, StepsOptions};

use super::output;
use super::values::DeviceArg;
use crate::log;

/// Flags of `selftest`.
#[derive(Clone, Debug, clap::Args)]
pub struct SelfTestArgs {
    /// Device to test: auto (a GPU if there is one), cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    pub device: DeviceArg,
    /// Limit the CPU kernels to an instruction set, for comparisons: portable, avx2, avx512 or
    /// avx512-bf16; on aarch64 portable, neon or neon-bf16 [default: the best that the CPU
    /// supports]
    #[arg(long, value_name = "LEVEL")]
    pub simd_level: Option<SimdLevel>,
    /// Run one part of the test; the checks alone are short enough for compute-sanitizer
    #[arg(long, value_name = "PART")]
    pub only: Option<PartArg>,
    /// Time only operations with this text in their name
    #[arg(long, value_name = "NAME")]
    pub op: Option<String>,
    /// Model whose operations and steps are timed, with random weights: tiny (for a trial), small,
    /// mistral-7b or llama-3.1-8b [default: small on the CPU, mistral-7b on a GPU]
    #[arg(long)]
    pub shape: Option<Shape>,
    /// Sampling temperature of the timed steps; 0 is greedy
    #[arg(long, default_value_t = 0.0)]
    pub temperature: f32,
    /// Top-p of the timed steps
    #[arg(long, default_value_t = 1.0)]
    pub top_p: f32,
    /// Also write the figures to a file as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// A part of the test.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum PartArg {
    /// Compare every operation with its reference
    Checks,
    /// Compare a whole model with its reference
    Model,
    /// Measure every operation
    Rates,
    /// Measure whole steps
    Steps,
}

/// Runs the test and prints its results.
///
/// # Errors
/// A result differs from its reference, the device failed, or the file cannot be written.
pub fn run(args: &SelfTestArgs) -> anyhow::Result<()> {
    // Created first, so that a path that cannot be written is reported before the test.
    let file = match &args.json {
        Some(path) => Some((
            path,
            File::create(path).with_context(|| cannot_write(path))?,
        )),
        None => None,
    };
    if let Some(level) = args.simd_level {
        use_simd_level(level)?;
    }
    let device = args.device.choose(&log::print_progress);
    let steps = StepsOptions {
        shape: args.shape.unwrap_or_else(|| Shape::of(device)),
        temperature: args.temperature,
        top_p: args.top_p,
    };
    let options = SelfTestOptions {
        device,
        only: args.only.map(Part::from),
        op: args.op.clone(),
        steps,
    };
    let mut printed = Ok(());
    let report = SelfTest::run(&options, &mut |line| {
        if printed.is_ok() {
            printed = output::print_line(line);
        }
    })?;
    printed?;
    if let Some((path, mut file)) = file {
        serde_json::to_writer_pretty(&mut file, &report)?;
        writeln!(file).with_context(|| cannot_write(path))?;
        output::print_line(format_args!("\nwritten to {}", path.display()))?;
    }
    let failed = report.failed();
    if !failed.is_empty() {
        bail!(
            "results differ from their references: {}",
            failed.join(", ")
        );
    }
    if !report.slow.is_empty() {
        let slow: Vec<_> = report.slow.iter().map(ToString::to_string).collect();
        bail!("unexpectedly slow: {}", slow.join("; "));
    }
    if !report.checks.is_empty() {
        output::print_line("\nEvery operation agrees with its reference.")?;
    }
    if !report.model.is_empty() {
        output::print_line("\nThe model agrees with its reference.")?;
    }
    Ok(())
}

impl From<PartArg> for Part {
    fn from(part: PartArg) -> Self {
        match part {
            PartArg::Checks => Self::Checks,
            PartArg::Model => Self::Model,
            PartArg::Rates => Self::Rates,
            PartArg::Steps => Self::Steps,
        }
    }
}

fn cannot_write(path: &std::path::Path) -> String {
    format!("cannot write {}", path.display())
}
