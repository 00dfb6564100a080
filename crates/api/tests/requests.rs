//! Which fields are supported, have no effect, or are rejected by name.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

use farthing_api::{
    ChatRequest, CompletionRequest, Content, InvalidRequest, Prompt, Role, StreamOptions,
};
use serde_json::{Value, json};

fn chat(extra: Value) -> Result<ChatRequest, InvalidRequest> {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    ChatRequest::from_json(merged(body, extra).to_string().as_bytes())
}

fn completion(extra: Value) -> Result<CompletionRequest, InvalidRequest> {
    let body = json!({"model": "m", "prompt": "hi"});
    CompletionRequest::from_json(merged(body, extra).to_string().as_bytes())
}

fn merged(mut body: Value, extra: Value) -> Value {
    let Value::Object(extra) = extra else {
        panic!("extra fields are an object")
    };
    body.as_object_mut().unwrap().extend(extra);
    body
}

/// Checks `param` and `code` of each rejection.
#[track_caller]
fn assert_refused<T>(request: Result<T, InvalidRequest>, param: &str, code: &str) {
    let Err(refusal) = request else {
        panic!("{param} was not refused")
    };
    assert_eq!(
        (refusal.param.as_deref(), refusal.code),
        (Some(param), Some(code)),
        "{refusal}"
    );
}

#[test]
fn defaults_are_openais_or_the_models() {
    let request = chat(json!({})).unwrap();
    let sampling = &request.sampling;
    assert_eq!(
        (sampling.temperature, sampling.top_p, sampling.n),
        (None, None, 1)
    );
    assert_eq!(
        (sampling.top_k, sampling.min_p, sampling.repetition_penalty),
        (None, None, None)
    );
    assert_eq!(
        (request.max_tokens, request.logprobs, request.stream),
        (None, None, None)
    );
    assert_eq!((sampling.seed, sampling.ignore_eos), (None, false));
    assert_eq!(completion(json!({})).unwrap().max_tokens, 16);
}

#[test]
fn every_honoured_parameter_arrives() {
    let request = chat(json!({
        "temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.05, "seed": -7,
        "stop": ["a", "b"], "max_completion_tokens": 9, "n": 3, "presence_penalty": -1.5,
        "frequency_penalty": 2, "repetition_penalty": 1.1, "logit_bias": {"5": -100, "6": 1.5},
        "logprobs": true, "top_logprobs": 2, "stream": true,
        "stream_options": {"include_usage": true, "continuous_usage_stats": false}, "ignore_eos": true, "user": "u",
    }))
    .unwrap();
    let sampling = &request.sampling;
    assert_eq!(
        (sampling.temperature, sampling.top_p, sampling.min_p),
        (Some(0.5), Some(0.9), Some(0.05))
    );
    assert_eq!(
        (sampling.top_k, sampling.seed, sampling.n),
        (Some(40), Some(-7), 3)
    );
    assert_eq!(sampling.stop, ["a", "b"]);
    assert_eq!(
        (sampling.presence_penalty, sampling.frequency_penalty),
        (-1.5, 2.0)
    );
    assert_eq!(
        (sampling.repetition_penalty, sampling.ignore_eos),
        (Some(1.1), true)
    );
    assert_eq!(sampling.logit_bias, [(5, -100.0), (6, 1.5)]);
    assert_eq!((request.max_tokens, request.logprobs), (Some(9), Some(2)));
    assert_eq!(request.user.as_deref(), Some("u"));
    assert_eq!(
        request.stream,
        Some(StreamOptions {
            include_usage: true,
            continuous_usage_stats: false,
        })
    );
}

#[test]
fn messages_are_read_as_openai_writes_them() {
    let request = chat(json!({"messages": [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "name": "ann", "content": [
            {"type": "text", "text": "one"}, {"type": "text", "text": "two"},
        ]},
        {"role": "assistant", "content": "yes", "refusal": null, "tool_calls": [],
         "annotations": [], "audio": null, "function_call": null},
    ]}))
    .unwrap();
    let roles: Vec<_> = request
        .messages
        .iter()
        .map(|message| message.role)
        .collect();
    assert_eq!(roles, [Role::System, Role::User, Role::Assistant]);
    assert_eq!(
        request.messages[1].content,
        Content::Parts(vec!["one".into(), "two".into()])
    );
    assert_eq!(request.messages[1].name.as_deref(), Some("ann"));
}

#[test]
fn prompts_come_in_four_shapes() {
    let prompts = |prompt: Value| completion(json!({"prompt": prompt})).unwrap().prompts;
    assert_eq!(prompts(json!("a")), [Prompt::Text("a".into())]);
    assert_eq!(
        prompts(json!(["a", "b"])),
        [Prompt::Text("a".into()), Prompt::Text("b".into())]
    );
    assert_eq!(prompts(json!([1, 2])), [Prompt::Tokens(vec![1, 2])]);
    assert_eq!(
        prompts(json!([[1], [2]])),
        [Prompt::Tokens(vec![1]), Prompt::Tokens(vec![2])]
    );
}

#[test]
fn what_changes_nothing_is_accepted() {
    for extra in [
        json!({"store": false}),
        json!({"metadata": {"a": "b"}}),
        json!({"service_tier": "auto"}),
        json!({"safety_identifier": "s", "prompt_cache_key": "k"}),
        json!({"parallel_tool_calls": true}),
        json!({"response_format": {"type": "text"}}),
        json!({"tools": [], "tool_choice": "none"}),
        json!({"modalities": ["text"]}),
        json!({"reasoning_effort": null, "audio": null, "unheard_of": null}),
        json!({"logit_bias": null, "stop": null, "seed": null, "temperature": null}),
    ] {
        assert_eq!(chat(extra.clone()), chat(json!({})), "{extra}");
    }
    completion(json!({"best_of": 2, "n": 2, "suffix": null})).unwrap();
}

#[test]
fn what_would_change_the_answer_is_refused_by_name() {
    for (extra, param) in [
        (json!({"tools": [{"type": "function"}]}), "tools"),
        (json!({"tool_choice": "required"}), "tool_choice"),
        (json!({"functions": [{}]}), "functions"),
        (
            json!({"response_format": {"type": "json_object"}}),
            "response_format",
        ),
        (json!({"modalities": ["text", "audio"]}), "modalities"),
        (json!({"audio": {}}), "audio"),
        (json!({"prediction": {}}), "prediction"),
        (json!({"reasoning_effort": "high"}), "reasoning_effort"),
        (json!({"verbosity": "low"}), "verbosity"),
        (json!({"web_search_options": {}}), "web_search_options"),
        (json!({"store": true}), "store"),
        (json!({"service_tier": "priority"}), "service_tier"),
        (
            json!({"stream": true, "stream_options": {"include_obfuscation": true}}),
            "stream_options.include_obfuscation",
        ),
    ] {
        assert_refused(chat(extra), param, "unsupported_parameter");
    }
    for param in ["guided_json", "min_tokens", "best_off"] {
        assert_refused(chat(json!({param: 1})), param, "unknown_parameter");
    }
    assert_refused(
        completion(json!({"best_of": 3})),
        "best_of",
        "unsupported_parameter",
    );
    assert_refused(
        completion(json!({"suffix": "x"})),
        "suffix",
        "unsupported_parameter",
    );
    assert_refused(
        completion(json!({"messages": []})),
        "messages",
        "unknown_parameter",
    );
    let tools = json!({"messages": [{"role": "assistant", "content": "", "tool_calls": [{}]}]});
    assert_refused(
        chat(tools),
        "messages[0].tool_calls",
        "unsupported_parameter",
    );
}

#[test]
fn ranges_are_held() {
    for (param, low, high) in [
        ("temperature", json!(-0.1), json!(2.1)),
        ("top_p", json!(-0.1), json!(1.1)),
        ("min_p", json!(-0.1), json!(1.1)),
        ("presence_penalty", json!(-2.1), json!(2.1)),
        ("frequency_penalty", json!(-2.1), json!(2.1)),
    ] {
        assert_refused(chat(json!({param: low})), param, "decimal_below_min_value");
        assert_refused(chat(json!({param: high})), param, "decimal_above_max_value");
    }
    for (param, low, high) in [
        ("n", json!(0), json!(129)),
        ("max_tokens", json!(0), json!(1u64 << 33)),
        ("max_completion_tokens", json!(-1), json!(u64::MAX)),
        ("top_k", json!(-2), json!(1u64 << 33)),
    ] {
        assert_refused(chat(json!({param: low})), param, "integer_below_min_value");
        assert_refused(chat(json!({param: high})), param, "integer_above_max_value");
    }
    let top_logprobs = chat(json!({"logprobs": true, "top_logprobs": 21}));
    assert_refused(top_logprobs, "top_logprobs", "integer_above_max_value");
    for param in ["top_p", "repetition_penalty"] {
        assert_refused(chat(json!({param: 0})), param, "decimal_below_min_value");
    }
    for edge in [
        json!({"temperature": 0}),
        json!({"temperature": 2}),
        json!({"top_p": 1}),
        json!({"n": 128}),
        json!({"top_k": -1}),
        json!({"seed": i64::MIN}),
    ] {
        chat(edge).unwrap();
    }
}

#[test]
fn messages_read_like_openais() {
    let message = |extra| chat(extra).unwrap_err().message;
    assert_eq!(
        message(json!({"temperature": 3})),
        "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3 \
         instead."
    );
    assert_eq!(
        message(json!({"n": "two"})),
        "Invalid type for 'n': expected an integer, but got a string instead."
    );
    assert_eq!(message(json!({"foo": 1})), "Unknown parameter: 'foo'.");
}

#[test]
fn wrong_types_are_refused_where_they_stand() {
    for (extra, param) in [
        (json!({"model": 5}), "model"),
        (json!({"temperature": "hot"}), "temperature"),
        (json!({"n": 1.5}), "n"),
        (json!({"seed": 1.5}), "seed"),
        (json!({"stop": 5}), "stop"),
        (json!({"stop": ["a", 5]}), "stop"),
        (json!({"stream": "yes"}), "stream"),
        (json!({"logprobs": 3}), "logprobs"),
        (json!({"logit_bias": []}), "logit_bias"),
        (json!({"user": 5}), "user"),
        (json!({"messages": "hi"}), "messages"),
        (json!({"messages": ["hi"]}), "messages[0]"),
        (
            json!({"messages": [{"role": "user", "content": 5}]}),
            "messages[0].content",
        ),
        (
            json!({"messages": [{"role": "user", "content": ["x"]}]}),
            "messages[0].content[0]",
        ),
    ] {
        assert_refused(chat(extra), param, "invalid_type");
    }
    for (prompt, param) in [
        (json!(5), "prompt"),
        (json!([1, "a"]), "prompt[1]"),
        (json!(["a", 1]), "prompt[1]"),
        (json!([[1], [-1]]), "prompt[1][0]"),
        (json!([1.5]), "prompt[0]"),
    ] {
        assert_refused(completion(json!({"prompt": prompt})), param, "invalid_type");
    }
}

#[test]
fn values_without_sense_are_refused() {
    for (extra, param) in [
        (
            json!({"messages": [{"role": "tool", "content": "x"}]}),
            "messages[0].role",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}),
            "messages[0].content[0].type",
        ),
        (json!({"stop": ""}), "stop"),
        (json!({"top_logprobs": 2}), "top_logprobs"),
        (
            json!({"max_tokens": 5, "max_completion_tokens": 6}),
            "max_tokens",
        ),
        (
            json!({"stream_options": {"include_usage": true}}),
            "stream_options",
        ),
        (json!({"logit_bias": {"paris": 1}}), "logit_bias"),
    ] {
        assert_refused(chat(extra), param, "invalid_value");
    }
    let bias = chat(json!({"logit_bias": {"5": 101}}));
    assert_refused(bias, "logit_bias", "decimal_above_max_value");
    let stops: Vec<_> = (0..17).map(|i| i.to_string()).collect();
    assert_refused(
        chat(json!({"stop": stops})),
        "stop",
        "array_above_max_length",
    );
    assert_refused(chat(json!({"messages": []})), "messages", "empty_array");
    assert_refused(completion(json!({"prompt": []})), "prompt", "empty_array");
    assert_refused(
        completion(json!({"prompt": [[]]})),
        "prompt[0]",
        "empty_array",
    );
    assert_refused(
        completion(json!({"max_tokens": 0})),
        "max_tokens",
        "integer_below_min_value",
    );
    assert_eq!(
        completion(json!({"max_tokens": 0, "echo": true}))
            .unwrap()
            .max_tokens,
        0
    );
}

#[test]
fn what_is_missing_is_named() {
    let parse = |body: Value| ChatRequest::from_json(body.to_string().as_bytes());
    assert_refused(
        parse(json!({"model": "m"})),
        "messages",
        "missing_required_parameter",
    );
    assert_refused(
        parse(json!({"messages": []})),
        "model",
        "missing_required_parameter",
    );
    let no_content = chat(json!({"messages": [{"role": "user"}]}));
    assert_refused(
        no_content,
        "messages[0].content",
        "missing_required_parameter",
    );
    let body = json!({"model": "m"}).to_string();
    let no_prompt = CompletionRequest::from_json(body.as_bytes());
    assert_refused(no_prompt, "prompt", "missing_required_parameter");
}

/// Numbers that would cause an overflow or a division by zero later.
#[test]
fn the_smallest_numbers_stay_safe() {
    let tiny = chat(json!({"temperature": 1e-40, "top_p": 1e-50, "repetition_penalty": 0.01}));
    let sampling = tiny.unwrap().sampling;
    assert_eq!(sampling.temperature, Some(0.0));
    assert!(sampling.top_p > Some(0.0) && sampling.repetition_penalty > Some(0.0));
}

#[test]
fn what_is_not_json_is_refused_without_a_param() {
    for body in ["", "{", "[]", "5", "{\"model\": \"m\",}", "\u{feff}{}"] {
        let refusal = ChatRequest::from_json(body.as_bytes()).unwrap_err();
        assert_eq!(refusal.param, None, "{body}");
    }
    let nested = format!("{{\"model\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    ChatRequest::from_json(nested.as_bytes()).unwrap_err();
}

/// What a caller sends is limited where it costs time for every token, or comes back in an error.
#[test]
fn what_drives_cost_has_a_limit() {
    let stop = |length| chat(json!({"stop": ["a".repeat(length), "b"]}));
    assert!(stop(1000).is_ok());
    assert_refused(stop(1001), "stop", "string_above_max_length");

    let biases = |count: u32| {
        let entries = (0..count).map(|token| (token.to_string(), json!(1)));
        chat(json!({"logit_bias": entries.collect::<serde_json::Map<_, _>>()}))
    };
    assert!(biases(300).is_ok());
    assert_refused(biases(301), "logit_bias", "object_above_max_properties");
    for key in ["05", "+5", "5.0", " 5", &"0".repeat(1_000_000)] {
        let message = chat(json!({"logit_bias": {key: 1}})).unwrap_err().message;
        assert!(message.len() < 300, "{} bytes", message.len());
    }

    let message = chat(json!({"x".repeat(1_000_000): 1})).unwrap_err().message;
    assert!(message.len() < 300, "{} bytes", message.len());
    for penalty in [1e-300, 1e-38, 0.0099] {
        let refused = chat(json!({"repetition_penalty": penalty}));
        assert_refused(refused, "repetition_penalty", "decimal_below_min_value");
    }
}

#[test]
fn a_cache_salt_is_a_short_text() {
    let chat = |salt: Value| {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "cache_salt": salt});
        ChatRequest::from_json(body.to_string().as_bytes()).map(|request| request.cache_salt)
    };
    let completion = |salt: Value| {
        let body = json!({"model": "m", "prompt": "hi", "cache_salt": salt});
        CompletionRequest::from_json(body.to_string().as_bytes()).map(|request| request.cache_salt)
    };
    let longest = "é".repeat(512);
    for ask in [&chat as &dyn Fn(Value) -> _, &completion] {
        assert_eq!(ask(Value::Null).unwrap(), None);
        assert_eq!(
            ask(json!(longest)).unwrap().as_deref(),
            Some(longest.as_str())
        );
        for refused in [json!(""), json!("é".repeat(513)), json!(1), json!(["a"])] {
            let error = ask(refused.clone()).unwrap_err();
            assert_eq!(error.param.as_deref(), Some("cache_salt"), "{refused}");
        }
    }
}

#[test]
fn errors_show_the_beginning_of_long_values() {
    let long = "é".repeat(100_000);
    let part = json!([{"type": long, "text": "x"}]);
    for messages in [
        json!([{"role": long, "content": "x"}]),
        json!([{"role": "user", "content": part}]),
    ] {
        let error = chat(json!({"messages": messages})).unwrap_err();
        assert!(error.message.len() < 500, "{} bytes", error.message.len());
        assert!(error.message.contains("éé…'"), "{}", error.message);
    }
}
