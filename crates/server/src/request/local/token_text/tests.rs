use farthing_scheduler::TokenLogprob;

use super::{in_chat, in_completion, names};

#[test]
fn parts_of_characters_have_openais_notation() {
    for (bytes, chat, completion) in [
        (&b"the"[..], "the", "the"),
        ("é".as_bytes(), "é", "é"),
        (b"\xe2\x80", "\\xe2\\x80", "bytes:\\xe2\\x80"),
        (b" \xf0\x9f", " \\xf0\\x9f", "bytes: \\xf0\\x9f"),
        (b"\x99", "\\x99", "bytes:\\x99"),
        (b"", "", ""),
    ] {
        assert_eq!(in_chat(bytes), chat);
        assert_eq!(in_completion(bytes), completion);
    }
}

/// Tokens 1 and 2 and the chosen 3 are spelled alike, and 4 and 5.
#[test]
fn no_token_is_lost_or_shown_under_anothers_name() {
    let text = |id: u32| if id < 4 { "same" } else { "other" }.to_owned();
    let token = |token: u32| TokenLogprob {
        token,
        logprob: -(token as f32),
    };
    let named = |top: &[u32], chosen: u32| {
        let top: Vec<_> = top.iter().map(|id| token(*id)).collect();
        names(&top, token(chosen), text)
    };
    let expected = |pairs: &[(&str, f32)]| {
        let pairs = pairs.iter();
        pairs
            .map(|(name, logprob)| ((*name).to_owned(), *logprob))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        named(&[1, 3, 4, 5, 2], 3),
        expected(&[
            ("token_id:1", -1.0),
            ("same", -3.0),
            ("other", -4.0),
            ("token_id:5", -5.0),
            ("token_id:2", -2.0),
        ])
    );
    // The chosen token is not among the likeliest.
    assert_eq!(
        named(&[1, 4], 3),
        expected(&[("token_id:1", -1.0), ("other", -4.0), ("same", -3.0)])
    );
    assert_eq!(named(&[], 1), expected(&[("same", -1.0)]));
}
