//! `farthing price`, as users type it.

use crate::{complaint, json, printed};

#[test]
fn price_knows_models_days_and_batches() {
    let usage = r#"{"prompt_tokens": 1000000, "completion_tokens": 100000}"#;
    let day = ["--on", "2026-11-24"];
    let usd = |words: &[&str]| printed(&[&["price", "--usage", usage], words, &day].concat());
    assert_eq!(usd(&["--model", "gpt-4o"]), "3.5\n");
    assert_eq!(usd(&["--model", "gpt-4o", "--batch"]), "1.75\n");
    // Above 272,000 prompt tokens: 5 and 22.5.
    assert_eq!(usd(&["--model", "gpt-5.4"]), "7.25\n");
    let report = json(&[
        "price",
        "--usage",
        usage,
        "--model",
        "gpt-4o",
        "--on",
        "2026-11-24",
    ]);
    assert_eq!(report["schema"], "subset");
    assert_eq!(report["lines"][0]["class"], "input");
    assert_eq!(
        report["price"]["provenance"]["read_on"]
            .as_str()
            .unwrap()
            .len(),
        10
    );
    let told = complaint(&[
        "price",
        "--usage",
        usage,
        "--model",
        "llama-3.1-8b-instant",
        "--batch",
    ]);
    assert!(told.contains("no known batch price"), "{told}");
}

#[test]
fn price_lists_what_is_known() {
    let told = printed(&["price", "--list", "gpt-4o"]);
    assert!(told.contains("openai/gpt-4o-mini"), "{told}");
    assert!(!told.contains("claude"), "{told}");
    let list = json(&["price", "--list"]);
    assert!(list["token_prices"].as_array().unwrap().len() > 50);
    assert!(list["gpu_prices"].as_array().unwrap().len() > 20);
}

#[test]
fn price_says_what_it_lacks() {
    for (words, why) in [
        (&[][..], "--usage"),
        (&["--rates", r#"{"inp": 1}"#], "--usage"),
        (
            &[
                "--rates",
                r#"{"inp": 1}"#,
                "--usage",
                r#"{"input_tokens": 9, "cached_tokens": 1}"#,
            ],
            "--schema",
        ),
        (&["--usage", r#"{"prompt_tokens": 9}"#], "--rates, --model"),
        (
            &["--rates", "{", "--usage", r#"{"prompt_tokens": 9}"#],
            "no JSON object",
        ),
        (
            &[
                "--rates",
                r#"{"inp": 1}"#,
                "--usage",
                "{}",
                "--schema",
                "subset",
            ],
            "no token counts",
        ),
        (
            &[
                "--rates",
                r#"{"inp": 1}"#,
                "--usage",
                "{}",
                "--schema",
                "both",
            ],
            "expected subset",
        ),
        (
            &[
                "--rates",
                r#"{"inp": 1}"#,
                "--usage",
                r#"{"prompt_tokens": 1, "completion_tokens": 2}"#,
                "--schema",
                "subset",
            ],
            "2 tokens of output have no known rate",
        ),
    ] {
        let told = complaint(&[&["price"], words].concat());
        assert!(told.contains(why), "{words:?}: {told}");
    }
}

#[test]
fn price_takes_whole_responses() {
    let day = ["--on", "2026-11-24"];
    let response = r#"{"object": "chat.completion", "model": "gpt-4o-2024-08-06", "choices": [],
        "usage": {"prompt_tokens": 1000000, "completion_tokens": 100000, "total_tokens": 1100000}}"#;
    assert_eq!(
        printed(&[&["price", "--usage", response], &day[..]].concat()),
        "3.5\n"
    );
    // The form shows how it counts, whatever the model's vendor does.
    let openai_like = r#"{"prompt_tokens": 1000000, "completion_tokens": 0, "total_tokens": 1000000,
        "cache_read_input_tokens": 1000000}"#;
    let report = json(&[
        "price",
        "--usage",
        openai_like,
        "--model",
        "claude-sonnet-4-5",
        "--on",
        "2026-11-24",
    ]);
    assert_eq!(report["schema"], "subset");
    assert_eq!(report["lines"].as_array().unwrap().len(), 1);
    let batch =
        r#"{"model": "claude-sonnet-4-5", "usage": {"input_tokens": 1, "service_tier": "batch"}}"#;
    let told = complaint(&[&["price", "--usage", batch], &day[..]].concat());
    assert!(told.contains("pass --batch"), "{told}");
    let rates = r#"{"input_cost_per_token": 2.5e-06, "output_cost_per_token": 1e-05}"#;
    assert_eq!(
        printed(&["price", "--usage", response, "--rates", rates]),
        "3.5\n"
    );
}

/// `farthing price --list --json | head -1` ends as other programs do: by the signal, without a word.
#[test]
fn a_closed_pipe_ends_it_quietly() {
    use std::io::Read;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};

    let mut farthing = Command::new(env!("CARGO_BIN_EXE_farthing"))
        .args(["price", "--list", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The list is longer than a pipe holds, so that the program is still writing when it closes.
    let mut first = [0];
    farthing
        .stdout
        .take()
        .unwrap()
        .read_exact(&mut first)
        .unwrap();
    let output = farthing.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    const SIGPIPE: i32 = 13;
    assert_eq!(output.status.signal(), Some(SIGPIPE), "{:?}", output.status);
}
