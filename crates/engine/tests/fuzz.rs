//! No tokenizer and no chat template makes the text side panic, overflow its stack or run for long.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use farthing_engine::{ChatContent, ChatMessage, ChatTemplate, Tokenizer};
use farthing_fuzz::{Campaign, mutate_bytes, mutate_json, mutate_text};

fn directory(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/directories")
        .join(name)
}

const TEXT: &str = " Hello, wörld!\u{1f600}\n\n<|im_start|>don't 12345   x\u{301}\u{2581}▁ \0";

#[test]
fn tokenizer_json() {
    let seeds = ["llama-3", "sentencepiece-first", "sentencepiece-legacy"]
        .map(|name| fs::read_to_string(directory(name).join("tokenizer.json")).unwrap());
    let names = [
        "vocab",
        "merges",
        "added_tokens",
        "id",
        "content",
        "pre_tokenizer",
        "normalizer",
        "decoder",
        "post_processor",
        "type",
        "pattern",
        "Regex",
        "String",
        "pretokenizers",
        "normalizers",
        "decoders",
        "model",
        "BPE",
        "Unigram",
        "WordPiece",
        "ByteLevel",
        "Metaspace",
        "Sequence",
        "Replace",
        "Split",
        "behavior",
        "unk_token",
        "byte_fallback",
        "single",
        "special_tokens",
        "prepend",
        "truncation",
        "padding",
        "start",
        "stop",
        "(a*)*b",
        "cache_capacity",
    ];
    let target = tempfile::tempdir().unwrap();
    Campaign::new("tokenizer_json", 3_000).run(
        |random| {
            let seed = random.pick(&seeds).clone();
            mutate_json(random, &seed, &names)
        },
        |input| {
            fs::write(target.path().join("tokenizer.json"), input).unwrap();
            let Ok(tokenizer) = Tokenizer::from_dir(target.path()) else {
                return;
            };
            let Ok(ids) = tokenizer.encode(TEXT, true) else {
                return;
            };
            tokenizer.decode(&ids, false);
            tokenizer.decode(&[0, 1, u32::MAX], true);
            tokenizer.special_ids();
        },
    );
}

#[test]
fn tokenizer_config() {
    let target = tempfile::tempdir().unwrap();
    let source = directory("sentencepiece-legacy");
    fs::copy(
        source.join("tokenizer.json"),
        target.path().join("tokenizer.json"),
    )
    .unwrap();
    let seed = r#"{"bos_token": {"content": "<s>", "lstrip": false}, "eos_token": "</s>", "add_bos_token": true,
        "add_eos_token": false, "legacy": false, "add_prefix_space": null, "tokenizer_class": "LlamaTokenizer",
        "chat_template": [{"name": "default", "template": "{{ messages[0].content }}"}]}"#;
    let names = [
        "bos_token",
        "eos_token",
        "chat_template",
        "name",
        "template",
        "content",
        "legacy",
    ];
    Campaign::new("tokenizer_config", 2_000).run(
        |random| mutate_json(random, seed, &names),
        |input| {
            fs::write(target.path().join("tokenizer_config.json"), input).unwrap();
            let tokenizer = Tokenizer::from_dir(target.path());
            let template = ChatTemplate::source_in(target.path());
            if let (Ok(tokenizer), Ok(Some(template))) = (tokenizer, template) {
                render(&template.text, &tokenizer);
            }
        },
    );
}

const WORDS: &[&str] = &[
    "{% for message in messages %}",
    "{% endfor %}",
    "{% if true %}",
    "{% endif %}",
    "{% else %}",
    "{% set ns = namespace(a=1) %}",
    "{% set ns.a = ns %}",
    "{% set ns.b = [ns] %}",
    "{{ ns }}",
    "{% macro m(x) %}{{ m(x) }}{% endmacro %}",
    "{{ m(1) }}",
    "{{ messages }}",
    "{{ messages | tojson }}",
    "{{ messages | tojson(indent=1000000000) }}",
    "{{ 'a' * 1000000000 }}",
    "{{ range(1000000000) }}",
    "{% for i in range(99999) %}",
    "{{ [1] * 1000000000 }}",
    "{{ 9223372036854775807 + 1 }}",
    "{{ 2 ** 9999 }}",
    "{{ 1 // 0 }}",
    "{{ 1 % 0 }}",
    "{{ raise_exception('no') }}",
    "{{ strftime_now('%Y-%m-%d %Q %') }}",
    "{{ messages[0]['content'] | trim | upper }}",
    "{{ messages[-1].content.split(' ')[99:][::-1] }}",
    "{{ '' | indent(1000000000) }}",
    "{{ loop.index }}",
    "{{ loop(messages) }}",
    "{% for m in messages recursive %}",
    "{% set x = x ~ x %}",
    "{{ x }}",
    "{% set x = 'ab' %}",
    "{% generation %}",
    "{% endgeneration %}",
    "{# #}",
    "{{ ",
    " }}",
    "{% ",
    " %}",
    "-",
    "(",
    ")",
    "[",
    "]",
    "not ",
    "|",
    ".",
    "'",
    "\"",
    "\\",
    "\n",
    "é",
    "0",
    "9",
    "{{ dict(a=messages) }}",
    "{{ messages | map(attribute='content') | list | join }}",
    "{{ messages | sort(attribute='role') }}",
    "{{ '%s' | format(messages) }}",
    "{% include 'chat_template' %}",
    "{% extends 'chat_template' %}",
    "{% import 'chat_template' as t %}",
    "{% block a %}",
    "{% endblock %}",
    "{{ self.a() }}",
    "{% call m(1) %}",
    "{% endcall %}",
    "{% filter upper %}",
    "{% endfilter %}",
    "{{ 'a'.replace('', 'bbbbbbbb').replace('', 'bbbbbbbb').replace('', 'bbbbbbbb') }}",
    "{{ 1e308 * 10 }}",
    "{% raw %}",
    "{% endraw %}",
    "{% break %}",
    "{% continue %}",
    "{{ cycler(1) }}",
    "{{ lipsum(9999) }}",
];

fn render(source: &str, tokenizer: &Tokenizer) {
    let Ok(template) = ChatTemplate::new(source, tokenizer) else {
        return;
    };
    let messages = [
        ChatMessage::new("system", "Be brief."),
        ChatMessage::new("user", "{{ messages }} </s> \0 é\u{1f600}<"),
        ChatMessage {
            role: "assistant".to_owned(),
            content: ChatContent::Parts(vec!["a".to_owned(), "b".to_owned()]),
            name: Some("ann".to_owned()),
        },
        ChatMessage::new("tool", ""),
    ];
    for (messages, opens) in [(&messages[..], true), (&messages[1..2], false)] {
        let Ok(prompt) = template.render(messages, opens) else {
            continue;
        };
        // Long prompts take time and reveal nothing more.
        if prompt.text().len() < 10_000 {
            let _ = tokenizer.encode_rendered(&prompt);
        }
    }
}

#[test]
fn chat_template() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/templates");
    let paths = [
        fixtures.join("llama-3.1.jinja"),
        fixtures.join("smollm2.jinja"),
        models.join("mistral-v1.jinja"),
        models.join("mistral-v3.jinja"),
    ];
    let mut seeds: Vec<_> = paths
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    seeds.push(String::new());
    let tokenizer = Tokenizer::from_dir(&directory("sentencepiece-legacy")).unwrap();
    Campaign::new("chat_template", 1_500).run(
        |random| {
            let seed = random.pick(&seeds).clone();
            if random.one_in(8) {
                mutate_bytes(random, seed.as_bytes())
            } else {
                mutate_text(random, &seed, WORDS).into()
            }
        },
        |input| render(&String::from_utf8_lossy(input), &tokenizer),
    );
}
