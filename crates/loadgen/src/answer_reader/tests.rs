//! Exact figures from scripted streams with scripted moments.

use farthing_fuzz::{Campaign, mutate_bytes, mutate_text};

use super::{AnswerReader, MAX_EVENT_BYTES};
use crate::record::{FailureKind, Record};

fn record(sent_at: f64, pieces: &[(f64, &str)]) -> Record {
    let mut reader = AnswerReader::default();
    for (at, bytes) in pieces {
        reader.take(*at, bytes.as_bytes()).unwrap();
    }
    Record {
        model: "m".into(),
        number: 0,
        due_at: sent_at,
        sent_at,
        prompt_tokens_asked: 10,
        output_tokens_asked: 4,
        outcome: Ok(reader.finish().unwrap()),
    }
}

const ROLE: &str =
    "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
const TEXT: &str =
    "data: {\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":null}]}\n\n";
const STOP: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}\n\n";
const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":5,\
    \"total_tokens\":17,\"prompt_tokens_details\":{\"cached_tokens\":8},\
    \"cost\":{\"device_seconds\":0.25,\"usd\":0.000009768641}}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

#[test]
fn the_first_text_counts_not_the_first_chunk() {
    let record = record(
        1.0,
        &[
            (1.25, ROLE),
            (1.5, TEXT),
            (1.75, TEXT),
            (2.0, STOP),
            (2.5, DONE),
        ],
    );
    assert_eq!(record.ttft(), Some(0.5));
    assert_eq!(record.e2e(), Some(1.0));
    // Without usage a piece of text counts as a token: two, one of them after the first.
    assert_eq!(record.output_tokens(), 2);
    assert_eq!(record.tpot(), Some(0.5));
    assert_eq!(record.prompt_tokens(), 10);
}

#[test]
fn the_servers_counts_win() {
    let pieces = [
        (0.5, TEXT),
        (1.0, TEXT),
        (1.5, STOP),
        (1.75, USAGE),
        (2.0, DONE),
    ];
    let record = record(0.0, &pieces);
    assert_eq!((record.prompt_tokens(), record.cached_tokens()), (12, 8));
    assert_eq!(record.output_tokens(), 5);
    assert_eq!(record.tpot(), Some(0.25));
    let usage = record.usage().unwrap();
    assert_eq!(usage.device_seconds, Some(0.25));
    assert_eq!(usage.usd.unwrap().to_string(), "0.000009768641");
}

#[test]
fn completions_and_thoughts_are_text() {
    let text = "data: {\"choices\":[{\"text\":\"a\",\"finish_reason\":\"stop\"}]}\n\n";
    assert_eq!(record(0.0, &[(0.5, text)]).ttft(), Some(0.5));
    let thought = "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"a\"}}]}\n\n";
    assert_eq!(
        record(0.0, &[(0.25, thought), (1.0, STOP)]).ttft(),
        Some(0.25)
    );
}

#[test]
fn one_token_has_no_time_per_token() {
    assert_eq!(record(0.0, &[(0.5, TEXT), (0.75, STOP)]).tpot(), None);
}

#[test]
fn pieces_that_come_together_share_their_moment() {
    let all = [TEXT, TEXT, TEXT, STOP].concat();
    let (head, tail) = all.split_at(90);
    let record = record(0.0, &[(0.5, head), (1.0, tail)]);
    assert_eq!(record.outcome.unwrap().text_at, [0.5, 1.0, 1.0]);
}

fn fault(pieces: &[&str]) -> (FailureKind, String) {
    let mut reader = AnswerReader::default();
    for bytes in pieces {
        if let Err(fault) = reader.take(0.0, bytes.as_bytes()) {
            return fault;
        }
    }
    reader.finish().unwrap_err()
}

#[test]
fn what_is_no_answer_is_told_by_its_kind() {
    assert_eq!(fault(&[TEXT]).0, FailureKind::CutOff);
    assert_eq!(fault(&[]).0, FailureKind::CutOff);
    assert_eq!(fault(&[ROLE, STOP]).0, FailureKind::NoText);
    assert_eq!(fault(&[ROLE, DONE]).0, FailureKind::NoText);
    assert_eq!(fault(&[TEXT, "data: oops\n\n"]).0, FailureKind::NotAStream);
    let (kind, message) = fault(&[
        TEXT,
        "data: {\"error\":{\"message\":\"out of memory\"}}\n\n",
    ]);
    assert_eq!(kind, FailureKind::ErrorEvent);
    assert!(message.contains("out of memory"), "{message}");
}

#[test]
fn a_usage_of_nothing_is_none() {
    let nothing = "data: {\"choices\":[],\"usage\":{}}\n\n";
    assert_eq!(
        record(0.0, &[(0.5, TEXT), (0.5, STOP), (0.5, nothing)]).usage(),
        None
    );
}

/// `ROLE`, four pieces of text, and what the server says then.
fn spoken(end: &str) -> Record {
    record(0.0, &[(0.5, ROLE), (1.0, &TEXT.repeat(4)), (1.5, end)])
}

#[test]
fn absent_choices_and_null_counts_are_none() {
    let counts = "\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":4}";
    for choices in ["", "\"choices\":null,", "\"choices\":[null],"] {
        let end = format!("{STOP}data: {{{choices}{counts}}}\n\n{DONE}");
        assert_eq!(spoken(&end).usage().unwrap().completion_tokens, 4);
    }
    // A later chunk without counts takes nothing back.
    let nulls = "data: {\"choices\":null,\"usage\":{\"prompt_tokens\":null,\
        \"completion_tokens\":null,\"prompt_tokens_details\":null},\"error\":null}\n\n";
    let record = spoken(&[nulls, STOP, USAGE, nulls, DONE].concat());
    let usage = record.usage().unwrap();
    assert_eq!(
        (usage.prompt_tokens, usage.cached_tokens),
        (Some(12), Some(8))
    );
    assert_eq!(usage.completion_tokens, 5);
}

#[test]
fn usage_is_found_where_servers_put_it() {
    let counts = "{\"prompt_tokens\":12,\"completion_tokens\":4,\"cached_tokens\":8}";
    for holder in [
        format!("\"usage\":{counts}"),
        format!("\"x_groq\":{{\"usage\":{counts}}}"),
        format!("\"choices\":[{{\"delta\":null,\"usage\":{counts}}}]"),
    ] {
        let record = spoken(&format!("{STOP}data: {{{holder}}}\n\n{DONE}"));
        let counts = (record.prompt_tokens(), record.cached_tokens());
        assert_eq!((counts, record.output_tokens()), ((12, 8), 4), "{holder}");
    }
}

#[test]
fn counts_may_be_written_as_other_languages_do() {
    let tell = |count: &str| {
        let usage = format!("{{\"prompt_tokens\":{count},\"completion_tokens\":4}}");
        format!("{STOP}data: {{\"usage\":{usage}}}\n\n{DONE}")
    };
    for twelve in ["12", "12.0", "\"12\""] {
        assert_eq!(spoken(&tell(twelve)).prompt_tokens(), 12, "{twelve}");
    }
    // What is not told is what was asked.
    assert_eq!(spoken(&tell("null")).prompt_tokens(), 10);
    for wrong in ["-1", "1.5", "{}", "\"many\"", "true"] {
        let (kind, message) = fault(&[TEXT, &tell(wrong)]);
        assert_eq!(kind, FailureKind::BadUsage, "{wrong}");
        assert!(message.contains("prompt_tokens"), "{message}");
    }
    let (kind, message) = fault(&[
        TEXT,
        STOP,
        "data: {\"usage\":{\"prompt_tokens\":3,\
        \"completion_tokens\":4,\"prompt_tokens_details\":{\"cached_tokens\":9}}}\n\n",
    ]);
    assert_eq!(kind, FailureKind::BadUsage);
    assert!(message.contains("9 cached"), "{message}");
}

#[test]
fn another_servers_cost_is_not_farthings() {
    let usage = "data: {\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":4,\"cost\":0.5}}\n\n";
    let record = spoken(&[STOP, usage, DONE].concat());
    assert_eq!(record.usage().unwrap().usd, None);
}

#[test]
fn an_empty_finish_reason_ends_nothing() {
    let text = |reason: &str| {
        format!(
            "data: {{\"choices\":[{{\"delta\":{{\"content\":\"x\"}},\"finish_reason\":{reason}}}]}}\n\n"
        )
    };
    for none in ["\"\"", "null", "\"null\""] {
        assert_eq!(fault(&[&text(none)]).0, FailureKind::CutOff, "{none}");
        assert_eq!(
            fault(&[&text(none), "data: {\"choi"]).0,
            FailureKind::CutOff
        );
        let whole = [text(none).as_str(), STOP].concat();
        assert_eq!(record(0.0, &[(0.5, &whole)]).output_tokens(), 1);
    }
    // Where each piece has a reason, none says that the answer is whole.
    let twice = text("\"stop\"").repeat(2);
    assert_eq!(fault(&[&twice]).0, FailureKind::CutOff);
    assert_eq!(
        record(0.0, &[(0.5, &[&twice, DONE].concat())]).output_tokens(),
        2
    );
    assert_eq!(
        record(0.0, &[(0.5, &text("{\"type\":\"stop\"}"))]).output_tokens(),
        1
    );
    for given_up in ["\"abort\"", "\"error\"", "{\"type\":\"abort\"}"] {
        assert_eq!(fault(&[TEXT, &text(given_up)]).0, FailureKind::ErrorEvent);
    }
}

#[test]
fn empty_data_is_no_event() {
    let stream = ["data:\n\n", TEXT, "data: \n\n", "data\n\n", STOP, DONE].concat();
    assert_eq!(record(0.0, &[(0.5, &stream)]).output_tokens(), 1);
}

#[test]
fn whatever_the_model_generated_is_text() {
    let delta = |delta: &str| format!("data: {{\"choices\":[{{\"delta\":{delta}}}]}}\n\n");
    for output in [
        r#"{"content":[{"type":"text","text":"A"}]}"#,
        r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"A"}]}]}"#,
        r#"{"content":7}"#,
        r#"{"content":"\ud83d"}"#,
        r#"{"reasoning":"A"}"#,
        r#"{"reasoning_details":[{"type":"reasoning.text","text":"A"}]}"#,
        r#"{"refusal":"A"}"#,
        r#"{"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":""}}]}"#,
        r#"{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}"#,
        r#"{"function_call":{"name":"f","arguments":""}}"#,
    ] {
        assert_eq!(
            record(0.0, &[(0.5, &delta(output)), (1.0, STOP)]).pieces(),
            1,
            "{output}"
        );
    }
    for nothing in [
        "null",
        "{}",
        r#"{"role":"assistant","content":null,"tool_calls":null}"#,
        r#"{"content":[],"tool_calls":[]}"#,
        r#"{"content":[{"type":"text","text":""}]}"#,
    ] {
        assert_eq!(
            fault(&[&delta(nothing), STOP]).0,
            FailureKind::NoText,
            "{nothing}"
        );
    }
    // The message so far, from servers that send no delta.
    let message = "data: {\"choices\":[{\"message\":{\"content\":\"A\"}}]}\n\n";
    assert_eq!(record(0.0, &[(0.5, message), (1.0, STOP)]).pieces(), 1);
}

#[test]
fn half_a_character_is_text() {
    let mut reader = AnswerReader::default();
    let bytes = b"data: {\"choices\":[{\"delta\":{\"content\":\"\xf0\x9f\"}}]}\n\n";
    assert_eq!(reader.take(0.5, bytes), Ok(1));
}

#[test]
fn errors_are_seen_in_all_their_forms() {
    for error in [
        "data: {\"error\":\"device lost\"}\n\n",
        "data: {\"object\":\"error\",\"message\":\"device lost\",\"code\":500}\n\n",
        "event: error\ndata: {\"message\":\"device lost\"}\n\n",
        "event: error\ndata: {\"type\":\"error\",\"message\":\"device lost\"}\n\n",
        "error: {\"code\":500,\"message\":\"device lost\"}\n\n",
        "error: {\"code\":500,\"message\":\"device lost\"}",
    ] {
        let (kind, message) = fault(&[TEXT, error]);
        assert_eq!(kind, FailureKind::ErrorEvent, "{error}");
        assert!(message.contains("device lost"), "{message}");
    }
    for none in ["null", "\"\"", "{}", "[]", "false"] {
        let end = format!("data: {{\"error\":{none}}}\n\n{STOP}");
        assert_eq!(spoken(&end).pieces(), 4, "{none}");
    }
}

#[test]
fn the_last_line_end_may_be_missing() {
    assert_eq!(
        record(0.0, &[(0.5, TEXT), (1.0, STOP.trim_end())]).pieces(),
        1
    );
    assert_eq!(
        record(0.0, &[(0.5, TEXT), (1.0, "data: [DONE]")]).pieces(),
        1
    );
}

#[test]
fn an_event_without_an_end_is_refused() {
    let mut reader = AnswerReader::default();
    let line = vec![b'x'; MAX_EVENT_BYTES];
    assert_eq!(reader.take(0.0, &line), Ok(0));
    let (kind, message) = reader.take(0.0, b"xx").unwrap_err();
    assert_eq!(kind, FailureKind::NotAStream);
    assert!(message.contains("bytes"), "{message}");
}

/// Whatever a server sends, and wherever it is cut.
#[test]
fn any_stream_is_an_answer_or_a_fault() {
    let seed = [ROLE, TEXT, TEXT, STOP, USAGE, DONE].concat();
    let words = [
        "data: ",
        "data:",
        "\n\n",
        "\r\n",
        "\r",
        "\n",
        "[DONE]",
        ": comment\n",
        "event: x\n",
        "{",
        "}",
        "[",
        "\"",
        "null",
        "1e999",
        "-1",
        "18446744073709551616",
        "\"error\":{}",
        "\"usage\":",
        "\0",
        "\u{feff}",
    ];
    let answer = |pieces: &[&[u8]]| {
        let mut reader = AnswerReader::default();
        for piece in pieces {
            reader.take(1.0, piece)?;
        }
        reader.finish()
    };
    Campaign::new("sse", 20_000).run(
        |random| {
            let mut input = if random.one_in(4) {
                mutate_bytes(random, seed.as_bytes())
            } else {
                mutate_text(random, &seed, &words).into()
            };
            // The last byte says where to cut.
            input.push(random.below(256) as u8);
            input
        },
        |input| {
            let (&cut, stream) = input.split_last().unwrap();
            let (first, second) = stream.split_at(usize::from(cut).min(stream.len()));
            let whole = answer(&[stream]);
            let pieces = answer(&[first, second]);
            assert_eq!(format!("{whole:?}"), format!("{pieces:?}"));
        },
    );
}
