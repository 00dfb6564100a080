use super::{Trace, TraceFormat, TraceRequest};

fn azure(text: &str) -> Result<Trace, String> {
    let trace = Trace::from_reader(text.as_bytes(), TraceFormat::Azure);
    trace.map_err(|error| error.to_string())
}

fn mooncake(text: &str) -> Result<Trace, String> {
    let trace = Trace::from_reader(text.as_bytes(), TraceFormat::Mooncake);
    trace.map_err(|error| error.to_string())
}

fn request(at: f64, prompt_tokens: u64, output_tokens: u64, blocks: &[u64]) -> TraceRequest {
    TraceRequest {
        at,
        prompt_tokens,
        output_tokens,
        blocks: blocks.to_vec(),
    }
}

#[test]
fn azures_rows_are_read() {
    let text = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n\
        2024-03-01 23:59:59.5000000,120,30\r\n\
        2024-03-02 00:00:00.2500000,0,7\r\n\
        2024-03-02 00:00:01.0000000,4000,1\r\n";
    let expected = [
        request(0.0, 120, 30, &[]),
        request(0.75, 1, 7, &[]),
        request(1.5, 4000, 1, &[]),
    ];
    assert_eq!(azure(text).unwrap().requests(), expected);
}

#[test]
fn azures_columns_go_by_name_and_times_may_have_a_zone() {
    let text = "GeneratedTokens,TIMESTAMP,ContextTokens\n\
        5,2024-05-12 00:00:01.003960+00:00,9\n\
        6,2024-05-12 00:00:00.003960+00:00,8\n";
    let expected = [request(0.0, 8, 6, &[]), request(1.0, 9, 5, &[])];
    assert_eq!(azure(text).unwrap().requests(), expected);
}

#[test]
fn mooncakes_lines_are_read() {
    let text = "{\"timestamp\": 500, \"input_length\": 1030, \"output_length\": 4, \"hash_ids\": [0, 7, 8]}\n\
        \n{\"timestamp\": 3500, \"input_length\": 20, \"output_length\": 9}\n";
    let expected = [request(0.0, 1030, 4, &[0, 7, 8]), request(3.0, 20, 9, &[])];
    assert_eq!(mooncake(text).unwrap().requests(), expected);
}

#[test]
fn what_is_no_trace_tells_its_line() {
    for (found, parts) in [
        (
            azure("a,b\n1,2\n"),
            ["line 1", "column TIMESTAMP is missing"],
        ),
        (
            azure(
                "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-03-01 23:59:59,1,1\nyesterday,1,1\n",
            ),
            ["line 3", "\"yesterday\" is not a time"],
        ),
        (
            azure("TIMESTAMP,ContextTokens,GeneratedTokens\n2024-03-01 23:59:59,-4,1\n"),
            ["line 2", "\"-4\" is not a number of tokens"],
        ),
        (
            azure("TIMESTAMP,ContextTokens,GeneratedTokens\n"),
            ["no requests", ""],
        ),
        (mooncake("{\"timestamp\": 1}\n"), ["line 1", "input_length"]),
        (
            mooncake("TIMESTAMP,ContextTokens\n"),
            ["line 1", "hash_ids"],
        ),
        (mooncake(""), ["no requests", ""]),
    ] {
        let error = found.unwrap_err();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
}

#[test]
fn long_requests_are_shortened_and_counted() {
    let text = "{\"timestamp\": 0, \"input_length\": 9000, \"output_length\": 4}\n\
        {\"timestamp\": 1, \"input_length\": 20, \"output_length\": 900}\n\
        {\"timestamp\": 2, \"input_length\": 20, \"output_length\": 9}\n";
    let mut trace = mooncake(text).unwrap();
    assert_eq!(trace.shorten(1000, 100), 2);
    let lengths: Vec<_> = trace
        .requests()
        .iter()
        .map(|it| (it.prompt_tokens, it.output_tokens))
        .collect();
    assert_eq!(lengths, [(1000, 4), (20, 100), (20, 9)]);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let path = std::path::Path::new("no/such/trace.csv");
    let error = Trace::read(path, TraceFormat::Azure)
        .unwrap_err()
        .to_string();
    assert!(error.contains("no/such/trace.csv"), "{error}");
}
