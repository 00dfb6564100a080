//! `farthing adapters inspect`: describes an adapter and checks whether it is served exactly.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::bail;
use farthing_model::{AdapterReport, Checkpoint, ComputeType, DeviceKind, LoadFormat, LoraBase};
use serde_json::{Value, json};

use super::output;
use crate::models::{self, ModelRequest};
use crate::visible::{visible, visible_json};

/// Flags of `adapters inspect`.
#[derive(Clone, Debug, clap::Args)]
pub struct InspectArgs {
    /// The adapter's directory: adapter_config.json and adapter_model.safetensors
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Base model to check it against, as in `serve`; without one, only the adapter's files are
    /// checked
    #[arg(long)]
    model: Option<String>,
    /// Branch, tag or commit of the base model on the hub
    #[arg(long, requires = "model")]
    revision: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints the report.
///
/// # Errors
/// There is no adapter, or it would not be served. The exit status says so.
pub fn run(args: &InspectArgs) -> anyhow::Result<()> {
    let checkpoint = args.model.as_deref().map(|model| open(model, args));
    let checkpoint = checkpoint.transpose()?;
    let base = checkpoint.as_ref().map(|checkpoint| LoraBase {
        checkpoint,
        compute_type: ComputeType::Bf16,
        device: DeviceKind::Cpu,
    });
    let report = AdapterReport::read(&args.directory, base)?;
    if args.json {
        let json = format!("{:#}", to_json(&report, args.model.as_deref()));
        output::print_line(visible_json(&json))?;
    } else {
        output::print(to_text(&report, args.model.as_deref()))?;
    }
    match report.refusal {
        None => Ok(()),
        Some(reason) => bail!("this adapter is not served: {reason}"),
    }
}

fn open(model: &str, args: &InspectArgs) -> anyhow::Result<Checkpoint> {
    let request = ModelRequest {
        model,
        revision: args.revision.as_deref(),
        load_format: LoadFormat::Auto,
    };
    let resolved = models::resolve(request, &output::tell)?;
    Ok(resolved.open(LoadFormat::Auto, 0)?)
}

fn to_text(report: &AdapterReport, model: Option<&str>) -> String {
    let scales: Vec<_> = report.scales.iter().map(f32::to_string).collect();
    let targets = report.targets.iter();
    let targets: Vec<_> = targets
        .map(|(name, count)| format!("{name} ×{count}"))
        .collect();
    let saved = report.saved_modules.iter().cloned().collect::<Vec<_>>();
    let ranks: Vec<_> = report.ranks.iter().map(usize::to_string).collect();
    let zero = match report.zero_targets {
        0 => String::new(),
        zero => format!("{zero} targets: A or B is all zeros, so that they change nothing"),
    };
    let size = format!(
        "{:.1} MB, {} parameters",
        report.size_bytes as f64 / 1e6,
        report.parameters
    );
    let verdict = match (&report.refusal, model) {
        (Some(reason), _) => format!("not served: {reason}"),
        (None, Some(model)) => format!("exactly as PEFT computes it on {model}"),
        (None, None) => "exactly, judging by its own files; check it against a --model".to_owned(),
    };
    let lines = [
        ("kind", report.kind.clone()),
        ("ranks", ranks.join(", ")),
        ("scales", scales.join(", ")),
        ("targets", targets.join(", ")),
        ("zero", zero),
        ("layers", spans(&report.layers)),
        ("whole weights", saved.join(", ")),
        ("size", size),
        ("identity", report.id.to_string()),
        ("trained on", report.base_model.clone().unwrap_or_default()),
        ("served", verdict),
    ];
    let mut text = String::new();
    for (name, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<14}{}", visible(value));
    }
    text
}

fn to_json(report: &AdapterReport, model: Option<&str>) -> Value {
    json!({
        "identity": report.id.to_string(),
        "kind": report.kind,
        "ranks": report.ranks,
        "scales": report.scales,
        "targets": report.targets,
        "zero_targets": report.zero_targets,
        "layers": report.layers,
        "whole_weights": report.saved_modules,
        "parameters": report.parameters,
        "size_bytes": report.size_bytes,
        "trained_on": report.base_model,
        "model": model,
        "served": report.refusal.is_none(),
        "reason": report.refusal,
    })
}

/// `0-3, 7` for 0, 1, 2, 3 and 7.
fn spans(numbers: &BTreeSet<usize>) -> String {
    let mut spans: Vec<(usize, usize)> = Vec::new();
    for &number in numbers {
        match spans.last_mut() {
            Some((_, end)) if *end + 1 == number => *end = number,
            _ => spans.push((number, number)),
        }
    }
    let text = spans.iter().map(|(start, end)| {
        if start == end {
            start.to_string()
        } else {
            format!("{start}-{end}")
        }
    });
    text.collect::<Vec<_>>().join(", ")
}
