use std::collections::VecDeque;

use farthing_fuzz::{Campaign, mutate_bytes};

use super::{MAX_EVENT_BYTES, SseReader, TooLarge};

/// The data of all events, with their names.
fn read(pieces: &[&[u8]]) -> Vec<(String, String)> {
    let (mut reader, mut events) = (SseReader::default(), VecDeque::new());
    for piece in pieces {
        reader.push(piece, &mut events).unwrap();
    }
    let text = |bytes| String::from_utf8(bytes).unwrap();
    events
        .into_iter()
        .map(|event| (text(event.name), text(event.data)))
        .collect()
}

/// The examples of the standard (HTML, 9.2.6), and what it says of each.
#[test]
fn the_examples_of_the_standard() {
    let event = |name: &str, data: &str| (name.to_owned(), data.to_owned());
    let stocks = b"data: YHOO\ndata: +2\ndata: 10\n\n";
    assert_eq!(read(&[stocks]), [event("", "YHOO\n+2\n10")]);
    let four = b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n";
    assert_eq!(
        read(&[four]),
        [
            event("", "first event"),
            event("", "second event"),
            event("", " third event"),
        ]
    );
    // The last block has no empty line after it.
    assert_eq!(
        read(&[b"data\n\ndata\ndata\n\ndata:"]),
        [event("", ""), event("", "\n")]
    );
    assert_eq!(
        read(&[b"data:test\n\ndata: test\n\n"]),
        [event("", "test"), event("", "test")]
    );
    assert_eq!(
        read(&[b"event: add\ndata: 73857293\n\nevent: x\n\n"]),
        [event("add", "73857293")]
    );
}

#[test]
fn every_split_of_every_line_end_gives_the_same() {
    let stream = "\u{feff}event: a\r\ndata: é\r\n\r\ndata: 1\rdata: 2\r\rdata: 3\n\n\n\r\n: c\r\ndata: 4\r\n\r\n".as_bytes();
    let whole = read(&[stream]);
    let data: Vec<_> = whole.iter().map(|(_, data)| data.as_str()).collect();
    assert_eq!(data, ["é", "1\n2", "3", "4"]);
    assert_eq!(whole[0].0, "a");
    for first in 0..=stream.len() {
        for second in first..=stream.len() {
            let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
            assert_eq!(read(&pieces), whole, "{first} {second}");
        }
    }
    let bytes: Vec<_> = stream.chunks(1).collect();
    assert_eq!(read(&bytes), whole);
}

#[test]
fn lines_and_events_have_a_limit() {
    let mut events = VecDeque::new();
    let line = vec![b'x'; MAX_EVENT_BYTES + 1];
    assert_eq!(SseReader::default().push(&line, &mut events), Err(TooLarge));
    let mut reader = SseReader::default();
    let line = [b"data:".as_slice(), &vec![b'x'; MAX_EVENT_BYTES / 2], b"\n"].concat();
    assert_eq!(reader.push(&line, &mut events), Ok(()));
    assert_eq!(reader.push(&line, &mut events), Err(TooLarge));
}

#[test]
fn any_bytes_in_any_pieces() {
    let seed = b"\xef\xbb\xbfevent: a\r\ndata: {\"x\": 1}\r\n\r\n: ping\n\ndata: 1\rdata: 2\r\rdata: [DONE]\n\n";
    Campaign::new("vendor-sse", 20_000).run(
        |random| mutate_bytes(random, seed),
        |bytes| {
            let (mut whole, mut split) = (VecDeque::new(), VecDeque::new());
            SseReader::default().push(bytes, &mut whole).unwrap();
            let mut reader = SseReader::default();
            for byte in bytes.chunks(1) {
                reader.push(byte, &mut split).unwrap();
            }
            assert_eq!(whole, split);
        },
    );
}
