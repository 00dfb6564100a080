//! Checks that an operation has the same name in four places: `kernels/x.cu`, `ops/src/x.rs`,
//! `ops/tests/x.rs` and a bench of `x`.

use super::Finding;
use super::source::{SourceFile, Tree};

const OPS: &str = "crates/ops/src/";
/// Files directly in `ops/src` that are not operations.
const GROUND: [&str; 15] = [
    "cuda",
    "gemm",
    "gpu_info",
    "grid",
    "huge_pages",
    "kv_cache_layer",
    "lib",
    "limits",
    "linear_weight",
    "operand",
    "philox",
    "pool",
    "rope_table",
    "simd",
    "upload_table",
];

/// Operations with only one side, because the other device has its data in another form: the
/// operation with the CPU side, and the one with the CUDA side.
const SPLIT: [(&str, &str); 2] = [("Lora", "LoraShrink"), ("Lora", "LoraExpandSlots")];

pub(super) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    for file in tree.files() {
        if let Some(op) = name_in(file, OPS, ".rs").filter(|op| !GROUND.contains(op)) {
            let test = format!("crates/ops/tests/{op}.rs");
            if !tree.has(&test) {
                findings.push(Finding::error(
                    &file.path,
                    0,
                    format!("its test {test} is missing"),
                ));
            }
        }
        if let Some(kernel) = name_in(file, "kernels/", ".cu") {
            let op = format!("{OPS}{kernel}.rs");
            if !tree.has(&op) {
                findings.push(Finding::error(
                    &file.path,
                    0,
                    format!("its op {op} is missing"),
                ));
            }
            let mut benches = tree
                .rust_files()
                .filter(|it| it.path.starts_with("benches/"));
            if !benches.any(|bench| bench.lines_saying(kernel).next().is_some()) {
                let message = format!("no bench under benches/ says `{kernel}`");
                findings.push(Finding::error(&file.path, 0, message));
            }
        }
        if file.path.starts_with(OPS) {
            check_sides(file, findings);
            check_refusals(file, findings);
        }
    }
}

/// The file's name without extension, if it is directly in `folder`.
fn name_in<'a>(file: &'a SourceFile, folder: &str, ending: &str) -> Option<&'a str> {
    let name = file.path.strip_prefix(folder)?.strip_suffix(ending)?;
    (!name.contains('/')).then_some(name)
}

/// candle's op traits provide a default CUDA side that fails, and some a CPU side. So the compiler
/// does not notice a missing side.
fn check_sides(file: &SourceFile, findings: &mut Vec<Finding>) {
    let is_op = |code: &str| {
        code.trim_start().starts_with("impl")
            && (code.contains("InplaceOp") || code.contains("CustomOp"))
            && code.contains(" for ")
    };
    let ops = file.code_lines().filter(|(_, code)| is_op(code)).count();
    for (side, function) in [("CPU", "fn cpu_fwd"), ("CUDA", "fn cuda_fwd")] {
        let written = file
            .code_lines()
            .filter(|(_, code)| code.contains(function))
            .count();
        if ops != written {
            let message = format!("{ops} operations but {written} {side} sides");
            findings.push(Finding::error(&file.path, 0, message));
        }
    }
}

/// A side that does nothing but fail is missing as well, except for the operations in [`SPLIT`].
/// Those are reported in a note.
fn check_refusals(file: &SourceFile, findings: &mut Vec<Finding>) {
    let mut op = "";
    let lines: Vec<&str> = file.code_lines().map(|(_, line)| line).collect();
    for (index, line) in lines.iter().enumerate() {
        if line.trim_start().starts_with("impl") {
            let name = line.split(" for ").nth(1).unwrap_or_default();
            let end = name
                .find(|c: char| !c.is_alphanumeric())
                .unwrap_or(name.len());
            op = &name[..end];
        }
        let side = [("CPU", "fn cpu_fwd"), ("CUDA", "fn cuda_fwd")];
        let Some((side, _)) = side
            .into_iter()
            .find(|(_, function)| line.contains(function))
        else {
            continue;
        };
        let text = lines[index..].join("\n");
        let body = text.split_once('{').map_or("", |(_, body)| body);
        if !body.trim_start().starts_with("bail!") {
            continue;
        }
        let other = SPLIT.iter().find_map(|(cpu, cuda)| match side {
            "CUDA" => (op == *cpu).then_some(cuda),
            _ => (op == *cuda).then_some(cpu),
        });
        findings.push(match other {
            Some(other) => {
                let message = format!("`{op}` has no {side} side: that is `{other}`");
                Finding::note(&file.path, message)
            }
            None => {
                let message = format!("the {side} side of `{op}` only fails");
                Finding::error(&file.path, index + 1, message)
            }
        });
    }
}
