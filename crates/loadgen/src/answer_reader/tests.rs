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
