use super::SseParser;

fn events(pieces: &[&str]) -> Vec<String> {
    let mut parser = SseParser::default();
    let events = pieces
        .iter()
        .flat_map(|piece| parser.push(piece.as_bytes()));
    events
        .map(|data| String::from_utf8(data).unwrap())
        .collect()
}

#[test]
fn an_event_ends_with_an_empty_line() {
    assert_eq!(events(&["data: one\n\ndata: two\n"]), ["one"]);
    assert_eq!(events(&["data: one\n\ndata:two\n\n"]), ["one", "two"]);
}

#[test]
fn all_line_ends_are_known() {
    assert_eq!(
        events(&["data: a\r\n\r\ndata: b\r\rdata: c\n\n"]),
        ["a", "b", "c"]
    );
}

#[test]
fn pieces_may_end_anywhere() {
    let text = ": ping\r\n\r\nevent: x\r\ndata: {\"ü\": 1}\r\nid: 7\r\n\r\ndata: [DONE]\r\n\r\n";
    for cut in 0..text.len() {
        let (head, tail) = text.as_bytes().split_at(cut);
        let mut parser = SseParser::default();
        let mut found = parser.push(head);
        found.extend(parser.push(tail));
        assert_eq!(
            found,
            [&b"{\"\xc3\xbc\": 1}"[..], b"[DONE]"],
            "cut at {cut}"
        );
    }
}

#[test]
fn data_on_several_lines_is_one() {
    assert_eq!(events(&["data: {\ndata: }\n\n"]), ["{\n}"]);
}

#[test]
fn comments_alone_are_no_event() {
    assert_eq!(events(&[": keep-alive\n\n", ":\n\n"]), Vec::<String>::new());
}
