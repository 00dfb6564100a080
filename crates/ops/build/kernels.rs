//! Compiles each file of `kernels/*.cu` to a fat binary for all supported architectures and embeds it.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;

use crate::Result;
use crate::arguments::EntryPoints;
use crate::toolkit::Toolkit;

/// Ampere, Ada and Hopper as machine code.
const MACHINE_CODE: [&str; 3] = ["80", "89", "90a"];
/// PTX, which the driver compiles for newer architectures.
const PTX: &str = "80";

/// Writes `modules.rs`, a list of the fat binaries; `arguments.rs`, the parameters of their functions;
/// and `kernels.txt`, the registers and shared memory that `ptxas` reports.
///
/// # Errors
/// A kernel does not compile, or spills registers.
pub(crate) fn compile(toolkit: &Toolkit, out: &Path) -> Result<()> {
    let folder = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../kernels");
    println!("cargo::rerun-if-changed={}", folder.display());
    let sources = sources(&folder)?;
    let compiled = thread::scope(|scope| {
        let compilations: Vec<_> = sources
            .iter()
            .map(|(name, source)| {
                scope.spawn(move || nvcc(toolkit, source, &out.join(format!("{name}.fatbin"))))
            })
            .collect();
        compilations
            .into_iter()
            .map(|it| {
                it.join()
                    .unwrap_or_else(|_| Err("a compilation panicked".into()))
            })
            .collect::<Vec<_>>()
    });
    let mut list = "[\n".to_owned();
    let mut table = Table::default();
    let mut entry_points = EntryPoints::default();
    for (module, ((name, source), output)) in sources.iter().zip(compiled).enumerate() {
        let output = output?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            return Err(format!("{name}.cu: {said}").into());
        }
        table.read(&said);
        entry_points.read(module, source)?;
        writeln!(
            list,
            "include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{name}.fatbin\")).as_slice(),"
        )?;
    }
    list.push(']');
    fs::write(out.join("modules.rs"), list)?;
    fs::write(out.join("arguments.rs"), entry_points.rust()?)?;
    fs::write(out.join("kernels.txt"), table.text())?;
    table.refuse_spills()
}

/// The source files by name, in a fixed order.
fn sources(folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut sources = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned());
        if let Some(name) = name.filter(|_| path.extension().is_some_and(|it| it == "cu")) {
            sources.insert(name, path);
        }
    }
    Ok(sources)
}

fn nvcc(toolkit: &Toolkit, source: &Path, target: &Path) -> std::result::Result<Output, String> {
    let mut command = Command::new(toolkit.nvcc());
    command.args([
        "--fatbin",
        "-std=c++17",
        "-O3",
        "-lineinfo",
        "-Xptxas",
        "-v",
    ]);
    for capability in MACHINE_CODE {
        command.arg(format!(
            "-gencode=arch=compute_{capability},code=sm_{capability}"
        ));
    }
    command.arg(format!("-gencode=arch=compute_{PTX},code=compute_{PTX}"));
    command.arg(source).arg("-o").arg(target);
    command.output().map_err(|e| format!("{command:?}: {e}"))
}

/// The output of `ptxas -v`, one line per kernel and architecture.
#[derive(Default)]
struct Table {
    rows: BTreeMap<(String, String), Usage>,
}

#[derive(Default)]
struct Usage {
    registers: u32,
    shared_bytes: u32,
    spill_bytes: u32,
}

impl Table {
    fn read(&mut self, said: &str) {
        let mut kernel = None;
        for line in said.lines() {
            if let Some(rest) = line.split("Compiling entry function ").nth(1) {
                let mut quoted = rest.split('\'').skip(1).step_by(2);
                kernel = quoted.next().zip(quoted.next());
            }
            let Some((name, architecture)) = kernel else {
                continue;
            };
            let usage = self
                .rows
                .entry((name.to_owned(), architecture.to_owned()))
                .or_default();
            let before = |unit: &str| {
                let word = line.split(unit).next()?.split_whitespace().last()?;
                line.contains(unit).then_some(word)?.parse().ok()
            };
            if line.contains("spill") {
                usage.spill_bytes = before(" bytes spill stores").unwrap_or(0)
                    + last_number_before(line, " bytes spill loads");
            }
            if line.contains(" registers") {
                usage.registers = before(" registers").unwrap_or(0);
                usage.shared_bytes = before(" bytes smem").unwrap_or(0);
            }
        }
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{:<44} {:>7} {:>9} {:>12} {:>11}\n",
            "kernel", "for", "registers", "shared bytes", "spill bytes"
        );
        for ((kernel, architecture), usage) in &self.rows {
            text += &format!(
                "{kernel:<44} {architecture:>7} {:>9} {:>12} {:>11}\n",
                usage.registers, usage.shared_bytes, usage.spill_bytes
            );
        }
        text
    }

    fn refuse_spills(&self) -> Result<()> {
        let spilling: Vec<_> = self
            .rows
            .iter()
            .filter(|(_, usage)| usage.spill_bytes > 0)
            .map(|((kernel, architecture), _)| format!("{kernel} for {architecture}"))
            .collect();
        if spilling.is_empty() {
            Ok(())
        } else {
            Err(format!("registers are spilled by {}", spilling.join(", ")).into())
        }
    }
}

fn last_number_before(line: &str, unit: &str) -> u32 {
    line.split(unit)
        .next()
        .and_then(|before| before.split_whitespace().last()?.parse().ok())
        .unwrap_or(0)
}
