//! `farthing selftest`: does this machine compute what it should, and how fast?

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, bail};
use farthing_model::SelfTest;

use crate::args::DeviceArg;

/// Flags of `selftest`.
#[derive(Clone, Debug, clap::Args)]
pub struct SelfTestArgs {
    /// What to test: auto (a GPU if there is one), cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    pub device: DeviceArg,
    /// Compare only, measure nothing: what compute-sanitizer can watch in a few minutes
    #[arg(long)]
    pub checks_only: bool,
    /// Write the figures to a file as well
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Tests every operation, then measures; prints as it goes.
///
/// # Errors
/// An operation computes something else than its twin, the device failed, or the file cannot be
/// written.
pub fn run(args: &SelfTestArgs) -> anyhow::Result<()> {
    // A file that cannot be written is found out before the work is done.
    let file = match &args.json {
        Some(path) => Some((
            path,
            File::create(path).with_context(|| cannot_write(path))?,
        )),
        None => None,
    };
    let device = args.device.choose(&|line| println!("{line}"));
    let report = SelfTest::run(device, args.checks_only, &mut |line| println!("{line}"))?;
    if let Some((path, mut file)) = file {
        serde_json::to_writer_pretty(&mut file, &report)?;
        writeln!(file).with_context(|| cannot_write(path))?;
        println!("\nwritten to {}", path.display());
    }
    if !report.passed() {
        let failed = report.checks.iter().filter(|check| !check.passed());
        let names: Vec<_> = failed.map(|check| check.op).collect();
        bail!("not as they should be: {}", names.join(", "));
    }
    println!("\nEvery operation computes what its twin does.");
    Ok(())
}

fn cannot_write(path: &std::path::Path) -> String {
    format!("cannot write {}", path.display())
}
