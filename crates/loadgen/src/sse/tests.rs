use super::{Event, SseParser};

fn events(pieces: &[&str]) -> Vec<String> {
    let mut parser = SseParser::default();
    let events = pieces
        .iter()
        .flat_map(|piece| parser.push(piece.as_bytes()));
    events
        .map(|event| String::from_utf8(event.data).unwrap())
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
        let found: Vec<Vec<u8>> = found.into_iter().map(|event| event.data).collect();
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

#[test]
fn data_may_be_empty_or_without_a_colon() {
    assert_eq!(events(&["data:\n\ndata\n\ndata: \n\n"]), ["", "", ""]);
    assert_eq!(events(&["datax: a\n\n data: b\n\n"]), Vec::<String>::new());
}

#[test]
fn a_byte_order_mark_begins_the_stream() {
    assert_eq!(events(&["\u{feff}data: a\n\n"]), ["a"]);
    // Anywhere else it is part of a name.
    assert_eq!(events(&["data: a\n\n\u{feff}data: b\n\n"]), ["a"]);
}

#[test]
fn an_error_is_told_by_its_name_or_field() {
    let mut parser = SseParser::default();
    let text = "event: error\ndata: a\n\nerror: b\n\nevent: ping\ndata: c\n\n";
    let found: Vec<(String, bool)> = parser
        .push(text.as_bytes())
        .into_iter()
        .map(|event| (String::from_utf8(event.data).unwrap(), event.is_error))
        .collect();
    let told = |data: &str, is_error| (data.to_owned(), is_error);
    assert_eq!(found, [told("a", true), told("b", true), told("c", false)]);
}

#[test]
fn what_is_left_at_the_end_is_an_event_too() {
    let rest = |text: &str| {
        let mut parser = SseParser::default();
        parser.push(text.as_bytes());
        parser.rest()
    };
    let event = Event {
        data: b"x".to_vec(),
        is_error: false,
    };
    assert_eq!(rest("data: x"), Some(event));
    assert_eq!(rest("data: x\n\n"), None);
    assert_eq!(rest(": ping"), None);
}
