//! Prompts and their ids equal those of Hugging Face's `apply_chat_template` and of mistral-common
//! (computed by `fixtures/make_prompts.py` and `make_snippets.py`).

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod vocabulary;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use farthing_engine::{ChatContent, ChatMessage, ChatTemplate, TextError, Tokenizer};
use farthing_model::GgufTokenizer;
use serde_json::Value;
use vocabulary::{fixture, json, llama_3, mistral, smollm2};

fn messages(value: &Value) -> Vec<ChatMessage> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let message = |value: &Value| ChatMessage {
        role: text(&value["role"]),
        content: match &value["content"] {
            Value::Array(parts) => ChatContent::Parts(parts.iter().map(text).collect()),
            content => ChatContent::Text(text(content)),
        },
        name: None,
    };
    value.as_array().unwrap().iter().map(message).collect()
}

/// Compares all cases of a reference and lists those that differ.
fn assert_reference(name: &str, template: &str, gguf: &GgufTokenizer) {
    let tokenizer = Tokenizer::from_gguf(gguf).unwrap();
    let template = fs::read_to_string(fixture(template)).unwrap();
    let template = ChatTemplate::new(&template, &tokenizer).unwrap();
    let prompts = json("prompts.json");
    let cases = prompts[name].as_array().unwrap();
    assert!(cases.len() >= 20, "{name} has {} cases", cases.len());
    for case in cases {
        let opens = case["add_generation_prompt"].as_bool().unwrap_or(true);
        let prompt = template
            .render(&messages(&case["messages"]), opens)
            .unwrap();
        if let Some(expected) = case["prompt"].as_str() {
            assert_eq!(prompt.text(), expected);
        }
        let ids = tokenizer.encode_rendered(&prompt).unwrap();
        let expected: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
        assert_eq!(ids, expected, "{prompt:?}");
        if let Some(bos) = tokenizer.bos_id().filter(|_| name != "smollm2") {
            assert_eq!(ids.iter().filter(|&&id| id == bos).count(), 1);
        }
    }
}

#[test]
fn mistral_v1_ids_equal_mistral_commons() {
    assert_reference(
        "mistral-v1",
        "../../../../models/templates/mistral-v1.jinja",
        &mistral("v1"),
    );
}

#[test]
fn mistral_v2_ids_equal_mistral_commons() {
    assert_reference(
        "mistral-v2",
        "../../../../models/templates/mistral-v2.jinja",
        &mistral("v2"),
    );
}

#[test]
fn mistral_v3_ids_equal_mistral_commons() {
    assert_reference(
        "mistral-v3",
        "../../../../models/templates/mistral-v3.jinja",
        &mistral("v3"),
    );
}

#[test]
fn smollm2_prompts_and_ids_equal_hugging_faces() {
    assert_reference("smollm2", "smollm2.jinja", &smollm2());
}

#[test]
fn llama_3_1_prompts_and_ids_equal_hugging_faces() {
    assert_reference("llama-3.1", "llama-3.1.jinja", &llama_3());
}

#[test]
fn snippets_render_as_in_hugging_faces_jinja() {
    let tokenizer = Tokenizer::from_gguf(&smollm2()).unwrap();
    let snippets = json("snippets.json");
    let messages = messages(&snippets["messages"]);
    let mut differ = Vec::new();
    for case in snippets["cases"].as_array().unwrap() {
        let source = case["template"].as_str().unwrap();
        let result = ChatTemplate::new(source, &tokenizer)
            .and_then(|template| template.render(&messages, true));
        let is_equal = match &result {
            Ok(prompt) => Some(prompt.text()) == case["prompt"].as_str(),
            Err(TextError::Rejected(message)) => Some(message.as_str()) == case["raised"].as_str(),
            Err(_) => false,
        };
        if !is_equal {
            differ.push(format!("{source:?}: {result:?}, not {case}"));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

fn small() -> Tokenizer {
    Tokenizer::from_gguf(&smollm2()).unwrap()
}

fn render(source: &str, messages: &[ChatMessage]) -> Result<String, TextError> {
    let prompt = ChatTemplate::new(source, &small())?.render(messages, true)?;
    Ok(prompt.text().to_owned())
}

#[test]
fn parts_go_in_whole_or_joined_as_the_template_takes_them() {
    let parts = ChatMessage {
        content: ChatContent::Parts(vec!["one".to_owned(), "two".to_owned()]),
        ..ChatMessage::new("user", "")
    };
    let text = ChatMessage::new("user", "one");
    let strings_only = "{% for m in messages %}{{ m.content | trim }}{% endfor %}";
    assert_eq!(
        render(strings_only, std::slice::from_ref(&parts)).unwrap(),
        "one\ntwo"
    );

    let parts_only =
        "{% for m in messages %}{% for p in m.content %}[{{ p.text }}]{% endfor %}{% endfor %}";
    assert_eq!(
        render(parts_only, std::slice::from_ref(&parts)).unwrap(),
        "[one][two]"
    );
    assert_eq!(
        render(parts_only, std::slice::from_ref(&text)).unwrap(),
        "[one]"
    );

    let either = "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}\
                  {% for p in m.content %}{{ p.text }}{% endfor %}{% endif %}{% endfor %}";
    assert_eq!(render(either, &[parts]).unwrap(), "onetwo");
    assert_eq!(render(either, &[text]).unwrap(), "one");
}

#[test]
fn names_reach_the_template() {
    let mut message = ChatMessage::new("user", "hi");
    let source = "{{ messages[0].name if messages[0].name is defined else 'nobody' }}";
    assert_eq!(
        render(source, std::slice::from_ref(&message)).unwrap(),
        "nobody"
    );
    message.name = Some("Ann".to_owned());
    assert_eq!(render(source, &[message]).unwrap(), "Ann");
}

#[test]
fn strftime_now_tells_the_date() {
    let source = "{{ strftime_now('%d %b %Y') }}";
    let now = UNIX_EPOCH + Duration::from_secs(1_722_000_000);
    let prompt = ChatTemplate::new(source, &small())
        .unwrap()
        .render_at(&[], true, now);
    assert_eq!(prompt.unwrap().text(), "26 Jul 2024");
}

#[test]
fn a_template_without_end_is_stopped() {
    let endless =
        "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}";
    let error = render(endless, &[]).unwrap_err();
    assert!(matches!(error, TextError::BadTemplate(_)), "{error}");
    // Only for some messages.
    let endless = format!("{{% if not messages %}}{endless}{{% endif %}}");
    let error = render(&endless, &[]).unwrap_err();
    assert!(matches!(error, TextError::Render(_)), "{error}");
}

#[test]
fn a_thousand_long_messages_are_no_endless_template() {
    let tokenizer = Tokenizer::from_gguf(&mistral("v3")).unwrap();
    let path = fixture("../../../../models/templates/mistral-v3.jinja");
    let template = ChatTemplate::new(&fs::read_to_string(path).unwrap(), &tokenizer).unwrap();
    let role = |turn| if turn % 2 == 0 { "user" } else { "assistant" };
    let chat: Vec<_> = (0..1001)
        .map(|turn| ChatMessage::new(role(turn), "word ".repeat(100)))
        .collect();
    let prompt = template.render(&chat, true).unwrap();
    assert!(prompt.text().len() > 500_000);
}

#[test]
fn refusals_are_the_callers_and_bad_templates_are_not() {
    let refused = render(
        "{{ raise_exception('no ' ~ messages[0].role) }}",
        &[ChatMessage::new("tool", "")],
    );
    let refused = refused.unwrap_err();
    assert_eq!(refused.to_string(), "no tool");
    assert!(refused.is_callers_fault());

    let bad = render("{% for %}", &[]).unwrap_err();
    assert!(
        matches!(bad, TextError::BadTemplate(_)) && !bad.is_callers_fault(),
        "{bad}"
    );

    // The template engine panics.
    let panicked = render("{% import 'a' as t % t %}", &[]).unwrap_err();
    assert!(matches!(panicked, TextError::BadTemplate(_)), "{panicked}");

    let failed = render(
        "{% if not messages[0].content %}{{ messages[0].content.nothing.at.all }}{% endif %}",
        &[ChatMessage::new("user", "")],
    );
    assert!(matches!(failed, Err(TextError::Render(_))));
}

#[test]
fn mistral_templates_refuse_what_mistral_common_refuses() {
    let tokenizer = Tokenizer::from_gguf(&mistral("v3")).unwrap();
    for version in ["v1", "v2", "v3"] {
        let path = fixture(&format!(
            "../../../../models/templates/mistral-{version}.jinja"
        ));
        let template = ChatTemplate::new(&fs::read_to_string(path).unwrap(), &tokenizer).unwrap();
        let refused = |messages: &[ChatMessage]| match template.render(messages, true) {
            Err(TextError::Rejected(message)) => message,
            other => panic!("{other:?}"),
        };
        let user = ChatMessage::new("user", "hi");
        let ends_with_assistant = [user.clone(), ChatMessage::new("assistant", "yes")];
        assert!(refused(&ends_with_assistant).contains("last message"));
        assert!(refused(&[user.clone(), ChatMessage::new("critic", "no")]).contains("critic"));
        let empty_answer = [user.clone(), ChatMessage::new("assistant", ""), user];
        assert!(refused(&empty_answer).contains("empty"));
        assert!(refused(&[]).contains("last message"));
    }
}

#[test]
fn a_directorys_template_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let find = || {
        let found = ChatTemplate::source_in(directory.path())?;
        let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        Ok::<_, TextError>(found.map(|it| (it.text, name(it.path))))
    };
    let found = |text: &str, name: &str| Some((text.to_owned(), name.to_owned()));
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    assert_eq!(find().unwrap(), None);
    write("tokenizer_config.json", r#"{"bos_token": "<s>"}"#);
    assert_eq!(find().unwrap(), None);
    // Of a processor.
    write("chat_template.json", r#"{"chat_template": "p"}"#);
    assert_eq!(find().unwrap(), found("p", "chat_template.json"));
    write("tokenizer_config.json", r#"{"chat_template": "one"}"#);
    assert_eq!(find().unwrap(), found("one", "tokenizer_config.json"));
    let named = r#"[{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}]"#;
    write(
        "tokenizer_config.json",
        &format!(r#"{{"chat_template": {named}}}"#),
    );
    assert_eq!(find().unwrap(), found("d", "tokenizer_config.json"));
    let error = || find().unwrap_err().to_string();
    write(
        "tokenizer_config.json",
        r#"{"chat_template": [{"name": "rag", "template": "r"}]}"#,
    );
    assert!(error().contains("rag"), "{}", error());
    write("tokenizer_config.json", "{");
    assert!(error().contains("tokenizer_config.json"));
    write("chat_template.jinja", "file");
    assert_eq!(find().unwrap(), found("file", "chat_template.jinja"));
}

#[test]
fn a_template_that_renders_no_chat_is_refused_at_once() {
    let tokenizer = small();
    let refused = |source: &str| match ChatTemplate::new(source, &tokenizer) {
        Ok(_) => panic!("{source} is taken"),
        Err(error) => error.to_string(),
    };
    let each =
        |expression: &str| format!("{{% for m in messages %}}{{{{ {expression} }}}}{{% endfor %}}");
    let told = refused(&each("m.content.isidentifier()"));
    assert!(
        told.contains("renders no chat") && told.contains("isidentifier"),
        "{told}"
    );
    assert!(refused(&each("m.content | urlize")).contains("urlize"));
    assert!(refused(&each("m.content is callable")).contains("callable"));
    // One that only takes chats of its own kind, and one that fails for some.
    for source in [
        "{% if messages[0].role != 'system' %}{{ messages[0].missing.x }}{% endif %}{{ messages[0].content }}",
        "{{ raise_exception('tools only') }}",
    ] {
        assert!(ChatTemplate::new(source, &tokenizer).is_ok(), "{source}");
    }
}

#[test]
fn the_end_of_a_turn_is_the_templates() {
    let tokenizer = Tokenizer::from_gguf(&llama_3()).unwrap();
    let end = |source: &str| {
        let template = ChatTemplate::new(source, &tokenizer).unwrap();
        template.turn_end().map(|id| tokenizer.decode(&[id], false))
    };
    let each = |end: &str| {
        format!("{{% for m in messages %}}{{{{ m.role }}}}: {{{{ m.content }}}}{end}{{% endfor %}}")
    };
    let source = fs::read_to_string(fixture("llama-3.1.jinja")).unwrap();
    assert_eq!(end(&source).as_deref(), Some("<|eot_id|>"));
    assert_eq!(end(&each("<|im_end|>\n")).as_deref(), Some("<|im_end|>"));
    assert_eq!(
        end(&each("\n<|endoftext|>")).as_deref(),
        Some("<|endoftext|>")
    );
    for none in ["\n", " and <|im_end|>", ""] {
        assert_eq!(end(&each(none)), None, "{none:?}");
    }
    let unwilling = "{% if messages | length > 1 %}{{ raise_exception('one only') }}{% endif %}{{ messages[0].content }}";
    assert_eq!(end(unwilling), None);
}

#[test]
fn templates_get_the_tokenizers_named_tokens() {
    let source = "{{ bos_token }}{{ eos_token }}{{ unk_token }}{{ pad_token is defined }}{{ messages[0].content }}";
    let text = "<|im_start|><|im_end|><|endoftext|>Falsehi";
    assert_eq!(
        render(source, &[ChatMessage::new("user", "hi")]).unwrap(),
        text
    );

    let directory = tempfile::tempdir().unwrap();
    let from = fixture("directories/sentencepiece-legacy/tokenizer.json");
    fs::copy(from, directory.path().join("tokenizer.json")).unwrap();
    let config = r#"{"bos_token": "<s>", "pad_token": {"content": "<pad>"}, "sep_token": "|", "cls_token": null}"#;
    fs::write(directory.path().join("tokenizer_config.json"), config).unwrap();
    let map = r#"{"pad_token": "other", "mask_token": "<mask>"}"#;
    fs::write(directory.path().join("special_tokens_map.json"), map).unwrap();
    let tokenizer = Tokenizer::from_dir(directory.path()).unwrap();
    let source = "{{ bos_token }}{{ eos_token }}{{ pad_token }}{{ sep_token }}{{ cls_token is defined }}{{ mask_token }}";
    let template = ChatTemplate::new(source, &tokenizer).unwrap();
    let prompt = template
        .render(&[ChatMessage::new("user", "hi")], true)
        .unwrap();
    assert_eq!(prompt.text(), "<s><pad>|False<mask>");
}

/// Templates that would end the process, or fill the memory, by nesting or size.
#[test]
fn a_hostile_template_is_refused() {
    let tokenizer = Tokenizer::from_gguf(&smollm2()).unwrap();
    let refused = |source: &str| {
        let template = ChatTemplate::new(source, &tokenizer);
        let chat = [ChatMessage::new("user", "hi")];
        match template.and_then(|template| template.render(&chat, true)) {
            Ok(prompt) => panic!("{} bytes of prompt", prompt.text().len()),
            Err(error) => error.to_string(),
        }
    };
    let ifs = "{% if true %}".repeat(10_000) + &"{% endif %}".repeat(10_000);
    let elifs = "{% if false %}".to_owned() + &"{% elif false %}".repeat(20_000) + "{% endif %}";
    let sum = format!("{{{{ {} }}}}", vec!["1"; 100_000].join("+"));
    let brackets = format!("{{{{ {}1{} }}}}", "(".repeat(10_000), ")".repeat(10_000));
    let large = "x".repeat(1 << 20);
    for (source, words) in [
        (ifs.as_str(), "nested too deeply"),
        (&elifs, "nested too deeply"),
        (&sum, "too long"),
        (&brackets, "nested too deeply"),
        (&large, "bytes"),
        (
            "{% set ns = namespace() %}{% set ns.own = ns %}{{ ns }}",
            "namespace `ns` is used as a value",
        ),
        (
            "{% set a = namespace() %}{% set b = namespace(of=a) %}{% set a.of = b %}{{ b.of }}",
            "namespace `a` is used as a value",
        ),
        (
            "{% set make = namespace %}{% set n = make() %}",
            "`namespace`",
        ),
        (
            "{% macro again(n) %}{{ again(n + 1) }}{% endmacro %}{{ again(0) }}",
            "recursion limit",
        ),
        ("{{ messages | tojson(indent=1000000000) }}", "at most 16"),
        ("{{ 'x' * 10000000000 }}", "limit"),
        (
            "{% for i in range(99999) %}{% for i in range(99999) %}x{% endfor %}{% endfor %}",
            "limit",
        ),
        (
            "{% set ns = namespace(x=[]) %}{% for i in range(9999) %}{% set ns.x = [ns.x] %}{% endfor %}\
             {{ ns.x | tojson }}",
            "values within values",
        ),
    ] {
        let said = refused(source);
        assert!(
            said.contains(words),
            "{}: {said}",
            &source[..source.len().min(80)]
        );
    }
}

/// The deepest values that the fuel allows are displayed and dropped on a stack that holds them.
#[test]
fn a_list_in_many_places_fills_no_memory() {
    // Two to the power of forty lists.
    let source = "{% set ns = namespace(x=[]) %}{% for i in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}";
    for print in [
        "{{ ns.x }}",
        "{{ ns.x | string }}",
        "{{ ns.x | tojson }}",
        "{{ [ns.x] | join }}",
    ] {
        let error = render(&format!("{source}{print}"), &[]).unwrap_err();
        assert!(error.to_string().contains("bytes"), "{print}: {error}");
    }
}

#[test]
fn a_deep_value_overflows_nothing() {
    let tokenizer = Tokenizer::from_gguf(&smollm2()).unwrap();
    let source = "{% set ns = namespace(x=[]) %}{% for i in range(99999) %}\
                  {% for j in range(9) %}{% set ns.x = [ns.x] %}{% endfor %}{% endfor %}{{ ns.x }}";
    for rounds in ["99999", "9999", "4999"] {
        let source = source.replace("99999", rounds);
        // Either it is too much or it is displayed.
        let template = ChatTemplate::new(&source, &tokenizer);
        let _ = template.and_then(|it| it.render(&[ChatMessage::new("user", "hi")], true));
    }
}
