//! No request body or query makes the parser panic, and no error repeats a long text of the caller.

#![allow(clippy::unwrap_used)]

use farthing_api::{
    ChatRequest, CompletionRequest, InvalidRequest, LoadAdapterRequest, OrganizationQuery,
    OrganizationReport, UnloadAdapterRequest,
};
use farthing_fuzz::{Campaign, mutate_bytes, mutate_json};

const CHAT: &str = r#"{"model": "m", "messages": [{"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "hi"}], "name": "ann"},
    {"role": "assistant", "content": "Hello."}], "temperature": 0.5, "top_p": 0.9,
    "top_k": 40, "min_p": 0.05, "presence_penalty": 0.1, "frequency_penalty": -0.1,
    "repetition_penalty": 1.1, "logit_bias": {"7": -100, "8": 1.5}, "seed": 7, "n": 2,
    "stop": ["\n", "END"], "ignore_eos": false, "max_completion_tokens": 10, "logprobs": true,
    "top_logprobs": 3, "stream": true, "stream_options": {"include_usage": true,
    "continuous_usage_stats": false}, "user": "ann", "cache_salt": "pepper", "metadata": {},
    "store": false, "service_tier": "auto", "tools": [], "tool_choice": "none",
    "response_format": {"type": "text"}, "modalities": ["text"]}"#;

const COMPLETION: &str = r#"{"model": "m", "prompt": ["a", "b"], "max_tokens": 5, "logprobs": 2, "echo": true,
    "best_of": 1, "suffix": "", "stop": "x", "stream": false, "user": "ann", "cache_salt": "pepper"}"#;
const TOKENS: &str = r#"{"model": "m", "prompt": [[1, 2, 3], [4294967295]], "n": 3, "echo": true}"#;

const LOAD: &str =
    r#"{"lora_name": "legal", "lora_path": "legal", "load_inplace": true, "pinned": false}"#;

const NAMES: &[&str] = &[
    "model",
    "messages",
    "prompt",
    "n",
    "stop",
    "logit_bias",
    "stream",
    "stream_options",
    "logprobs",
    "top_logprobs",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "seed",
    "user",
    "cache_salt",
    "role",
    "content",
    "name",
    "type",
    "text",
    "tool_calls",
    "echo",
    "best_of",
    "suffix",
    "lora_name",
    "lora_path",
    "include_usage",
    "audio",
    "x",
];

/// What a caller gets back has a bounded length.
const MAX_MESSAGE_BYTES: usize = 4096;

fn check(refused: Option<InvalidRequest>) {
    if let Some(refused) = refused {
        let param = refused.param.unwrap_or_default();
        let bytes = refused.message.len() + param.len();
        assert!(
            bytes <= MAX_MESSAGE_BYTES,
            "{bytes} bytes: {:.200}",
            refused.message
        );
    }
}

fn bodies(name: &'static str, seeds: &[&str], parse: impl Fn(&[u8]) -> Option<InvalidRequest>) {
    for seed in seeds {
        assert!(
            parse(seed.as_bytes()).is_none(),
            "{:?}",
            parse(seed.as_bytes())
        );
    }
    Campaign::new(name, 20_000).run(
        |random| {
            let seed = *random.pick(seeds);
            mutate_json(random, seed, NAMES)
        },
        |input| check(parse(input)),
    );
}

#[test]
fn chat() {
    bodies("chat", &[CHAT], |body| ChatRequest::from_json(body).err());
}

#[test]
fn completion() {
    bodies("completion", &[COMPLETION, TOKENS], |body| {
        CompletionRequest::from_json(body).err()
    });
}

#[test]
fn adapters() {
    bodies("load_adapter", &[LOAD], |body| {
        LoadAdapterRequest::from_json(body).err()
    });
    let unload = r#"{"lora_name": "legal"}"#;
    bodies("unload_adapter", &[unload], |body| {
        UnloadAdapterRequest::from_json(body).err()
    });
}

#[test]
fn organization_queries() {
    let seeds: [&[u8]; 3] = [
        b"start_time=1795500000&end_time=1795600000&bucket_width=1h&limit=24&group_by[]=model",
        b"start_time=0&group_by=tenant,line_item&tenants=ann&models=m&page=page_1795500000",
        b"start_time=1&bucket_width=1m&user_ids[]=a&api_key_ids=b&adapters=c&line_items=d&batch=false",
    ];
    let pairs = |input: &[u8]| -> Vec<(String, String)> {
        let text = String::from_utf8_lossy(input);
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name.to_owned(), value.to_owned())
        };
        text.split('&').map(pair).collect()
    };
    Campaign::new("organization_query", 20_000).run(
        |random| {
            let seed = *random.pick(&seeds);
            mutate_bytes(random, seed)
        },
        |input| {
            for report in [OrganizationReport::Usage, OrganizationReport::Costs] {
                check(OrganizationQuery::from_pairs(report, pairs(input)).err());
            }
        },
    );
}
