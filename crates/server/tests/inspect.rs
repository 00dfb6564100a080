//! `farthing adapters inspect`, as typed: the report on standard output, the verdict in the status.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures/parity/kinds")
}

fn inspect(adapter: &Path, flags: &[&str]) -> Output {
    let mut farthing = Command::new(env!("CARGO_BIN_EXE_farthing"));
    let inspect = farthing.args(["adapters", "inspect"]).arg(adapter);
    inspect.args(flags).output().unwrap()
}

fn model(file: &str) -> String {
    fixtures().join(file).display().to_string()
}

#[test]
fn what_is_served_ends_with_status_0() {
    let adapter = fixtures().join("untied/dora");
    for base in ["untied/base", "untied/base.gguf"] {
        let output = inspect(&adapter, &["--json", "--model", &model(base)]);
        assert!(output.status.success(), "{output:?}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["kind"], "DoRA");
        assert_eq!(report["ranks"], serde_json::json!([4]));
        assert_eq!(report["scales"], serde_json::json!([1.5]));
        assert_eq!(report["served"], true);
        assert_eq!(report["identity"].as_str().unwrap().len(), 64);
    }
    let output = inspect(&adapter, &[]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    for line in [
        "kind          DoRA\n",
        "layers        0-1\n",
        "trained on    untied\n",
    ] {
        assert!(text.contains(line), "{line:?} is not in {text}");
    }
}

#[test]
fn what_is_not_served_ends_with_status_1_and_the_reason() {
    // Made for an output projection that a tied base does not have as a weight of its own.
    let adapter = fixtures().join("tied/tied_targets");
    let output = inspect(&adapter, &["--json", "--model", &model("untied/base")]);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["served"], false);
    let reason = report["reason"].as_str().unwrap();
    assert!(reason.contains("lm_head.lora_A.weight"), "{reason}");
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains(reason), "{error}");

    let output = inspect(&fixtures(), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("adapter_config.json")
    );
}
