//! Every rule finds a violation that is planted in an otherwise tidy tree.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use xtask::tidy;

/// A small tree that violates no rule.
fn tidy_tree() -> TempDir {
    let root = TempDir::new().unwrap();
    for (name, dependencies) in [
        ("scheduler", ""),
        ("ops", ""),
        ("model", "farthing-scheduler.workspace = true"),
    ] {
        let manifest =
            format!("[package]\nname = \"farthing-{name}\"\n[dependencies]\n{dependencies}\n");
        plant(root.path(), &format!("crates/{name}/Cargo.toml"), &manifest);
    }
    plant(root.path(), "crates/ops/src/lib.rs", "pub mod silu_mul;\n");
    plant(
        root.path(),
        "crates/ops/src/silu_mul.rs",
        "impl InplaceOp2 for SiluMul {\n    fn cpu_fwd() { unsafe {} }\n    fn cuda_fwd() {}\n}\n",
    );
    plant(
        root.path(),
        "crates/ops/tests/silu_mul.rs",
        "#[test]\nfn works() {}\n",
    );
    plant(root.path(), "kernels/silu_mul.cu", "// silu(x) * y\n");
    plant(root.path(), "kernels/common.cuh", "// what kernels share\n");
    plant(root.path(), "benches/ops.rs", "fn silu_mul() {}\n");
    root
}

fn plant(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// The findings for a tidy tree with `text` at `path`, one line each.
fn findings(path: &str, text: &str) -> Vec<String> {
    let root = tidy_tree();
    plant(root.path(), path, text);
    let report = tidy::check(root.path()).unwrap();
    report.findings.iter().map(ToString::to_string).collect()
}

/// Asserts that there is one finding, at `place`, which contains `message`.
fn assert_found(path: &str, text: &str, place: &str, message: &str) {
    let found = findings(path, text);
    assert_eq!(found.len(), 1, "{found:#?}");
    let finding = &found[0];
    assert!(
        finding.starts_with(&format!("error: {place}: ")),
        "{finding}"
    );
    assert!(finding.contains(message), "{finding}");
}

#[test]
fn a_tidy_tree_passes() {
    let report = tidy::check(tidy_tree().path()).unwrap();
    assert!(report.is_tidy(), "{report}");
    assert_eq!(report.files, 9);
    assert_eq!(report.to_string(), "tidy: 9 files read, 0 rules broken");
}

#[test]
fn the_wrong_folder_is_no_tidy_tree() {
    let error = tidy::check(TempDir::new().unwrap().path()).err().unwrap();
    assert!(
        error.to_string().contains("has no `crates` folder"),
        "{error}"
    );
}

#[test]
fn an_arrow_against_the_stream() {
    let path = "crates/scheduler/Cargo.toml";
    for dependency in [
        "[dependencies]\nfarthing-model.workspace = true",
        "[dev-dependencies]\nfarthing-model = { path = \"../model\" }",
        "[dependencies]\nrenamed = { package = \"farthing-model\", path = \"../model\" }",
        "[target.'cfg(unix)'.build-dependencies]\nfarthing-model.workspace = true",
        "[dependencies.farthing-model]\nworkspace = true",
    ] {
        let manifest = format!("[package]\nname = \"farthing-scheduler\"\n{dependency}\n");
        let found = findings(path, &manifest);
        assert_eq!(found.len(), 1, "{dependency}");
        assert!(
            found[0].contains("`scheduler` may not use `model`"),
            "{}",
            found[0]
        );
    }
}

#[test]
fn a_crate_that_is_not_on_the_map() {
    let path = "crates/surprise/Cargo.toml";
    assert_found(path, "[package]\n", path, "no arrow leads to `surprise`");
}

#[test]
fn a_manifest_that_cannot_be_read() {
    let path = "crates/model/Cargo.toml";
    assert_found(path, "[package\n", path, "no TOML");
}

#[test]
fn a_word_of_another_room() {
    let path = "crates/scheduler/src/lib.rs";
    assert_found(
        path,
        "\nuse std::time::Duration;\n",
        &format!("{path}:2"),
        "`std::time`",
    );
    let path = "crates/economics/src/lib.rs";
    assert_found(
        path,
        "fn f(x: f32) {}\n",
        &format!("{path}:1"),
        "`f32` is not a word",
    );
}

#[test]
fn a_word_in_a_comment_a_string_or_a_longer_word_is_none() {
    let text = "// no std::time here\nconst A: &str = \"std::time\";\nfn my_std::timers() {}\n";
    assert_eq!(findings("crates/scheduler/src/lib.rs", text), [""; 0]);
}

#[test]
fn the_cuda_feature_out_of_its_rooms() {
    let text = "#[cfg(feature = \"cuda\")]\nfn f() {}\n";
    let path = "crates/model/src/llama.rs";
    assert_found(path, text, &format!("{path}:1"), "feature `cuda`");
    assert_eq!(findings("crates/model/src/device.rs", text), [""; 0]);
}

#[test]
fn unsafe_out_of_ops() {
    let path = "crates/model/src/llama.rs";
    assert_found(
        path,
        "fn f() {\n    unsafe { g() }\n}\n",
        &format!("{path}:2"),
        "`unsafe`",
    );
}

#[test]
fn a_function_of_a_level_that_is_not_inlined() {
    let path = "crates/ops/src/simd/wide.rs";
    let message = "`#[inline(always)]`";
    let generic = "unsafe fn sum<S: Lanes>() -> f32 {\n    0.0\n}\n";
    assert_found(path, generic, &format!("{path}:1"), message);
    let method = "impl<S: Dot<W>, W> Grid<S, W> for Scores {\n    unsafe fn tile() {\n    }\n}\n";
    assert_found(path, method, &format!("{path}:2"), message);
    let array = "unsafe fn sum<S: Lanes>(\n    sums: [[S::F32; 2]; 3],\n) -> f32 {\n    0.0\n}\n";
    assert_found(path, array, &format!("{path}:1"), message);
    let inlined = format!("#[inline(always)]\n{generic}");
    assert_eq!(findings(path, &inlined), [""; 0]);
    let declared = "trait Lanes {\n    unsafe fn zero() -> Self;\n}\n";
    assert_eq!(findings(path, declared), [""; 0]);
}

#[test]
fn a_closure_between_dispatch_and_an_instruction() {
    let path = "crates/ops/src/simd/wide.rs";
    let function = |body: &str| {
        format!("#[inline(always)]\nunsafe fn dot<S: Dot<W>, W>() {{\n    {body}\n}}\n")
    };
    let at = format!("{path}:3");
    let message = "write a loop";
    let one_line = function("weights.map(|weights| S::weights(weights.add(pair), step));");
    assert_found(path, &one_line, &at, message);
    let several_lines = function("rows.for_each(|row| {\n        *row = exp::<S>(*row);\n    });");
    assert_found(path, &several_lines, &at, message);
    let plain =
        function("let next = weights.map(|weights| weights.wrapping_add(1));\n    S::zero();");
    assert_eq!(findings(path, &plain), [""; 0]);
}

#[test]
fn an_ignored_test_and_a_sleeping_one() {
    let path = "crates/model/tests/llama.rs";
    assert_found(
        path,
        "#[ignore = \"slow\"]\n",
        &format!("{path}:1"),
        "ignored",
    );
    assert_found(path, "thread::sleep(d);\n", &format!("{path}:1"), "waits");
    assert_eq!(
        findings("crates/model/src/llama.rs", "thread::sleep(d);\n"),
        [""; 0]
    );
    let path = "crates/model/src/llama/tests.rs";
    assert_found(path, "thread::sleep(d);\n", &format!("{path}:1"), "waits");
}

#[test]
fn an_op_without_its_test() {
    let path = "crates/ops/src/rope.rs";
    assert_found(
        path,
        "",
        path,
        "its test crates/ops/tests/rope.rs is missing",
    );
    assert_eq!(findings("crates/ops/src/silu_mul/row.rs", ""), [""; 0]);
}

#[test]
fn an_op_without_one_of_its_sides() {
    let path = "crates/ops/src/silu_mul.rs";
    let without = |sides: &str| format!("impl InplaceOp2 for SiluMul {{ {sides} }}\n");
    assert_found(
        path,
        &without("fn cuda_fwd() {}"),
        path,
        "1 operations but 0 CPU sides",
    );
    assert_found(
        path,
        &without("fn cpu_fwd() {}"),
        path,
        "1 operations but 0 CUDA sides",
    );
}

#[test]
fn a_kernel_without_its_op_or_its_bench() {
    let found = findings("kernels/lora.cu", "");
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].contains("its op crates/ops/src/lora.rs is missing"));
    assert!(found[1].contains("no bench under benches/ says `lora`"));
}

#[test]
fn a_name_that_says_nothing() {
    for path in [
        "crates/model/src/utils.rs",
        "crates/model/src/common/x.rs",
        "benches/helpers.py",
    ] {
        assert_found(path, "", path, "is no subject");
    }
}

#[test]
fn a_file_that_is_too_long() {
    let path = "crates/model/src/llama.rs";
    assert_found(path, &"\n".repeat(601), path, "601 lines are more than 600");
    let root = tidy_tree();
    plant(root.path(), path, &"\n".repeat(401));
    let report = tidy::check(root.path()).unwrap();
    assert!(report.is_tidy());
    assert_eq!(
        report.findings[0].to_string(),
        format!("note: {path}: 401 lines: has it two subjects?")
    );
    assert_eq!(
        findings("crates/model/data.json", &"\n".repeat(601)),
        [""; 0]
    );
}

#[test]
fn a_path_of_a_machine_and_the_address_of_a_registry() {
    let home = concat!("/", "home/");
    assert_found(
        "README.md",
        &format!("\ncd {home}me\n"),
        "README.md:2",
        "a folder of one machine",
    );
    assert_eq!(
        findings("README.md", &format!("$DIR{home} and ./x{home}y, ..{home}")),
        [""; 0]
    );
    let host = concat!("pypi", ".org");
    assert_found(
        "docker/Dockerfile",
        &format!("RUN curl {host}\n"),
        "docker/Dockerfile:1",
        host,
    );
    assert_eq!(findings("Cargo.lock", concat!("crates", ".io")), [""; 0]);
    assert_eq!(findings("target/x.rs", home), [""; 0]);
    assert_eq!(findings(".git", &format!("gitdir: {home}me\n")), [""; 0]);
}

#[test]
fn what_is_not_text_is_passed_over() {
    let root = tidy_tree();
    fs::write(root.path().join("weights.bin"), [0xff, 0xfe, 0x00]).unwrap();
    assert!(tidy::check(root.path()).unwrap().is_tidy());
}

#[test]
fn the_crate_for_tests_outside_of_dev_dependencies() {
    let manifest = |kind: &str| {
        format!(
            "[package]\nname = \"farthing-scheduler\"\n[{kind}]\nfarthing-testkit.workspace = true\n"
        )
    };
    let path = "crates/scheduler/Cargo.toml";
    let message = "`scheduler` may not use `testkit`";
    assert_found(
        path,
        &manifest("dependencies"),
        &format!("{path}:4"),
        message,
    );
    assert_eq!(findings(path, &manifest("dev-dependencies")), [""; 0]);
}

/// The findings once all of these files are planted.
fn findings_of(files: &[(&str, &str)]) -> Vec<String> {
    let root = tidy_tree();
    for (path, text) in files {
        plant(root.path(), path, text);
    }
    let report = tidy::check(root.path()).unwrap();
    report.findings.iter().map(ToString::to_string).collect()
}

#[test]
fn modules_in_a_circle() {
    let lib = (
        "crates/model/src/lib.rs",
        "mod a;\nmod b;\nmod c;\npub use a::{A, A as Other};\npub use c::C;\n",
    );
    let a = (
        "crates/model/src/a.rs",
        "use crate::b::{self, x::{Y, Z}};\n",
    );
    let b = ("crates/model/src/b.rs", "fn f() {}\n");
    let c = ("crates/model/src/c.rs", "use super::b;\nuse std::fmt;\n");
    assert_eq!(findings_of(&[lib, a, b, c]), [""; 0]);
    // `C` is re-exported by the root, and `b/x.rs` belongs to `b`.
    for (path, text) in [
        (
            "crates/model/src/b.rs",
            "pub(crate) use crate::C;\nmod x;\n",
        ),
        (
            "crates/model/src/b/x.rs",
            "use crate::{\n    Other as A,\n};\n",
        ),
    ] {
        let circle = ("crates/model/src/c.rs", "use crate::A;\n");
        let found = findings_of(&[lib, a, b, circle, (path, text)]);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(
            found[0].starts_with("error: crates/model/src/lib.rs: modules in a circle: a uses b"),
            "{found:#?}"
        );
    }
}

#[test]
fn siblings_in_a_circle_below_a_module_and_children_that_use_their_parent() {
    let children = |one: &str, two: &str| {
        findings_of(&[
            ("crates/ops/src/lib.rs", "mod silu_mul;\n"),
            ("crates/ops/src/silu_mul/one.rs", one),
            ("crates/ops/src/silu_mul/two.rs", two),
        ])
    };
    let found = children(
        "use super::two::Two;\n",
        "use super::{SiluMul, one::One};\n",
    );
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(
        found[0].contains("silu_mul::one uses silu_mul::two::Two"),
        "{found:#?}"
    );
    assert_eq!(
        children("use super::SiluMul;\n", "use super::one::One;\n"),
        [""; 0]
    );
    // Tests and comments do not count.
    assert_eq!(
        children("// use super::two::Two;\n", "use super::one::One;\n"),
        [""; 0]
    );
    let test = ("crates/ops/src/silu_mul/tests.rs", "use super::one;\n");
    let one = ("crates/ops/src/silu_mul/one.rs", "use super::tests;\n");
    assert_eq!(findings_of(&[test, one]), [""; 0]);
}

#[test]
fn a_flag_in_a_librarys_message() {
    let path = "crates/model/src/llama.rs";
    let message = "`--max-model-len` is a flag of the command line";
    let text = "#[error(\n    \"too long: \\\n     lower --max-model-len\"\n)]\nstruct E;\n";
    assert_found(path, text, &format!("{path}:2"), message);
    for fine in [
        "// vLLM's `--max-model-len`.\n",
        "const A: &str = \"build it with `cargo build --features cuda`\";\n",
        "const A: &str = \"a--b, -- and --5\";\n",
        "const A: &str = \"color: var(--ink); --ink: black\";\n",
    ] {
        assert_eq!(findings(path, fine), [""; 0]);
    }
    let flag = "const A: &str = \"give --usage\";\n";
    assert_eq!(findings("crates/server/src/cli/price.rs", flag), [""; 0]);
    assert_eq!(findings("crates/model/tests/llama.rs", flag), [""; 0]);
}

#[test]
fn a_phrase_that_is_retired() {
    let path = "crates/model/src/llama.rs";
    let at = format!("{path}:1");
    for phrase in [
        "It reckons the cost.",
        "Tells the cost.",
        "For so many tokens.",
        "The cost; none where it is free.",
        "One's own cost.",
        "An answer is of one generation.",
        "Who waits is served by fair shares.",
        "What no request holds is nowhere.",
        "A door through which nothing goes yet.",
        "The batch is still in row_state.",
        "Whom.",
        "The model's.",
    ] {
        assert_found(path, &format!("/// {phrase}\n"), &at, "write ");
    }
    assert_found("README.md", "\nIt tells all.\n", "README.md:2", "`tells`");
    assert_found("benches/x.py", "# so many\n", "benches/x.py:1", "`so many`");
    for fine in [
        "/// Retells it.\n",
        "fn tells() {}\n",
        "/// The model's weights.\n",
    ] {
        assert_eq!(findings(path, fine), [""; 0]);
    }
    assert_eq!(findings("benches/results/x.md", "it tells\n"), [""; 0]);
}

#[test]
fn an_op_with_a_side_that_only_fails() {
    let path = "crates/ops/src/silu_mul.rs";
    let text = |op: &str| {
        format!(
            "impl InplaceOp2 for {op}<'_> {{\n    fn cpu_fwd() {{ work() }}\n    \
             fn cuda_fwd(x: X) -> Result<()> {{\n        bail!(\"no\")\n    }}\n}}\n"
        )
    };
    let message = "the CUDA side of `SiluMul` only fails";
    assert_found(path, &text("SiluMul"), &format!("{path}:3"), message);
    let note = format!("note: {path}: `Lora` has no CUDA side: that is `LoraShrink`");
    assert_eq!(findings(path, &text("Lora")), [note]);
}
