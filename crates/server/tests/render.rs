//! `farthing render`, as typed: the prompt on standard output, or what is wrong with the messages.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

const TEMPLATE: &str = "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}{{ eos_token }}{% endfor %}\
                        {% if add_generation_prompt %}[assistant]{% endif %}";

/// A tiny model with a tokenizer of SentencePiece's kind.
fn model(template: Option<&str>) -> TempDir {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let weights = crates.join("model/tests/fixtures/parity/kinds/untied/base");
    let tokenizer = crates.join("engine/tests/fixtures/directories/sentencepiece-legacy");
    let directory = tempfile::tempdir().unwrap();
    let copy = |from: &Path, name: &str| {
        fs::copy(from.join(name), directory.path().join(name)).unwrap();
    };
    copy(&weights, "config.json");
    copy(&weights, "model.safetensors");
    copy(&tokenizer, "tokenizer.json");
    let mut config = json!({"bos_token": "<s>", "eos_token": "</s>"});
    if let Some(template) = template {
        config["chat_template"] = template.into();
    }
    let path = directory.path().join("tokenizer_config.json");
    fs::write(path, config.to_string()).unwrap();
    directory
}

fn render(model: &TempDir, messages: &str, flags: &[&str]) -> Output {
    let file = model.path().join("messages.json");
    fs::write(&file, messages).unwrap();
    let mut farthing = Command::new(env!("CARGO_BIN_EXE_farthing"));
    let render = farthing.arg("render").arg(&file);
    render.arg("--model").arg(model.path()).args(flags);
    render.output().unwrap()
}

fn printed(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn complaint(output: Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn the_prompt_is_printed_as_it_is() {
    let model = model(Some(TEMPLATE));
    let list = r#"[{"role": "user", "content": "a </s>"}]"#;
    let body = format!(r#"{{"model": "any", "messages": {list}, "tools": []}}"#);
    for messages in [list, &body] {
        let prompt = printed(render(&model, messages, &[]));
        assert_eq!(prompt, "<s>[user] a </s></s>[assistant]\n");
    }
    let closed = printed(render(&model, list, &["--no-generation-prompt"]));
    assert_eq!(closed, "<s>[user] a </s></s>\n");

    // A control token that a message spells stays text; the template's own is one.
    let report: Value = serde_json::from_str(&printed(render(&model, list, &["--json"]))).unwrap();
    let tokens: Vec<&str> = report["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .map(|token| token.as_str().unwrap())
        .collect();
    assert_eq!(tokens[0], "<s>");
    assert_eq!(tokens.iter().filter(|token| **token == "</s>").count(), 1);
    assert_eq!(report["ids"].as_array().unwrap().len(), tokens.len());
    let origin = report["chat_template"].as_str().unwrap();
    assert!(origin.ends_with("tokenizer_config.json"), "{origin}");

    let own = model.path().join("own.jinja");
    fs::write(&own, "own: {{ messages[0].content }}").unwrap();
    let flags = ["--chat-template", own.to_str().unwrap()];
    assert_eq!(printed(render(&model, list, &flags)), "own: a </s>\n");
}

#[test]
fn what_is_wrong_is_told() {
    let list = r#"[{"role": "user", "content": "a"}]"#;
    let none = complaint(render(&model(None), list, &[]));
    assert!(none.contains("has no chat template"), "{none}");
    let model = model(Some(
        "{% if messages | length > 2 %}{{ raise_exception('too long') }}{% endif %}x",
    ));
    for (messages, why) in [
        ("{", "not JSON"),
        ("{}", "no `messages`"),
        (r#"[{"role": "user"}]"#, "content"),
        (
            r#"[{"role": "user", "content": "a"}, {"role": "user", "content": "b"}, {"role": "user", "content": "c"}]"#,
            "too long",
        ),
    ] {
        let told = complaint(render(&model, messages, &[]));
        assert!(told.contains(why), "{messages}: {told}");
    }
    let never = model.path().join("never.jinja");
    fs::write(&never, "{{ messages[0].content.isidentifier() }}").unwrap();
    let told = complaint(render(
        &model,
        list,
        &["--chat-template", never.to_str().unwrap()],
    ));
    assert!(
        told.contains("never.jinja") && told.contains("isidentifier"),
        "{told}"
    );
}
