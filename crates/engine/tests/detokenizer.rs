//! Pieces of text, however tokens cut it, join to the whole text up to the stop string.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod vocabulary;

use std::sync::{Arc, LazyLock};

use farthing_engine::{Detokenizer, Piece, Tokenizer};
use proptest::prelude::*;
use proptest::sample::Index;
use vocabulary::{mistral, smollm2};

static BYTE_LEVEL: LazyLock<Arc<Tokenizer>> =
    LazyLock::new(|| Arc::new(Tokenizer::from_gguf(&smollm2()).unwrap()));
static SENTENCE_PIECE: LazyLock<Arc<Tokenizer>> =
    LazyLock::new(|| Arc::new(Tokenizer::from_gguf(&mistral("v3")).unwrap()));

const EMOJI: &str = "Oh 👩‍🚀😀 ñandú 漢字, naïve… \u{10348} done";

/// Random tokens of the vocabulary, and texts in tokens of single bytes, mixed.
fn tokens(tokenizer: &'static LazyLock<Arc<Tokenizer>>) -> impl Strategy<Value = Vec<u32>> {
    let single_bytes: Vec<u32> = (0..tokenizer.vocab_size() as u32)
        .filter(|&id| tokenizer.token_bytes(id).len() == 1)
        .collect();
    let spell = move |text: String| {
        let id = |byte: &u8| {
            let is_byte = |id: &&u32| tokenizer.token_bytes(**id) == [*byte];
            *single_bytes.iter().find(is_byte).unwrap()
        };
        text.as_bytes().iter().map(id).collect::<Vec<_>>()
    };
    let any_token = prop::collection::vec(0..tokenizer.vocab_size() as u32, 0..8);
    let words = "[a-c é漢😀]{0,12}".prop_map(|text| tokenizer.encode(&text, false).unwrap());
    let bytes = "[a-c é漢😀👍🏽]{0,8}".prop_map(spell);
    let part = prop_oneof![any_token, words, bytes];
    prop::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
}

/// All pieces joined, and whether a stop string ended them. Only an incomplete character or a
/// possible start of a stop string may be held back.
fn run(tokenizer: &Arc<Tokenizer>, tokens: &[u32], stop: &[String]) -> (String, bool) {
    let mut detokenizer = Detokenizer::new(Arc::clone(tokenizer), stop);
    let mut emitted = String::new();
    for (index, &token) in tokens.iter().enumerate() {
        let piece = detokenizer.push(token);
        emitted.push_str(&piece.text);
        if piece.stopped {
            assert_eq!(
                detokenizer.push(token),
                Piece {
                    text: String::new(),
                    stopped: true
                }
            );
            assert_eq!(detokenizer.finish(), "");
            return (emitted, true);
        }
        let whole = tokenizer.decode(&tokens[..=index], true);
        let held = whole.strip_prefix(emitted.as_str()).unwrap();
        let complete = held
            .strip_suffix(char::REPLACEMENT_CHARACTER)
            .unwrap_or(held);
        let may_be_held =
            |held: &str| held.is_empty() || stop.iter().any(|it| it.starts_with(held));
        assert!(
            may_be_held(held) || may_be_held(complete),
            "{held:?} is held back"
        );
    }
    emitted.push_str(&detokenizer.finish());
    (emitted, false)
}

/// The text up to the stop string that is complete first, character by character.
fn cut(whole: &str, stop: &[String]) -> (String, bool) {
    for end in (0..=whole.len()).filter(|&end| whole.is_char_boundary(end)) {
        let stops_here = stop
            .iter()
            .filter(|stop| whole[..end].ends_with(stop.as_str()));
        if let Some(longest) = stops_here.map(String::len).max() {
            return (whole[..end - longest].to_owned(), true);
        }
    }
    (whole.to_owned(), false)
}

/// Stop strings cut out of the text, some with a different ending.
fn stops(whole: &str, cuts: &[(Index, usize, bool)]) -> Vec<String> {
    let characters: Vec<char> = whole.chars().collect();
    let stop = |(start, len, is_changed): &(Index, usize, bool)| {
        let start = start.index(characters.len().max(1)).min(characters.len());
        let end = (start + len).min(characters.len());
        let mut stop: String = characters[start..end].iter().collect();
        if *is_changed {
            stop.push('!');
        }
        stop
    };
    // An incomplete character at the end becomes U+FFFD only when no stop string can follow.
    let is_usable = |stop: &String| !stop.is_empty() && !stop.contains(char::REPLACEMENT_CHARACTER);
    cuts.iter().map(stop).filter(is_usable).collect()
}

fn cuts() -> impl Strategy<Value = Vec<(Index, usize, bool)>> {
    prop::collection::vec((any::<Index>(), 1..6usize, any::<bool>()), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn byte_level_pieces_join_to_the_whole(tokens in tokens(&BYTE_LEVEL), cuts in cuts()) {
        let whole = BYTE_LEVEL.decode(&tokens, true);
        prop_assert_eq!(run(&BYTE_LEVEL, &tokens, &[]), (whole.clone(), false));
        let stop = stops(&whole, &cuts);
        prop_assert_eq!(run(&BYTE_LEVEL, &tokens, &stop), cut(&whole, &stop), "{:?}", stop);
    }

    #[test]
    fn sentence_piece_pieces_join_to_the_whole(tokens in tokens(&SENTENCE_PIECE), cuts in cuts()) {
        let whole = SENTENCE_PIECE.decode(&tokens, true);
        prop_assert_eq!(run(&SENTENCE_PIECE, &tokens, &[]), (whole.clone(), false));
        let stop = stops(&whole, &cuts);
        prop_assert_eq!(run(&SENTENCE_PIECE, &tokens, &stop), cut(&whole, &stop), "{:?}", stop);
    }

    #[test]
    fn how_tokens_cut_a_text_changes_nothing(
        text in "[ab é😀]{0,20}",
        cuts in cuts(),
        joins in prop::collection::vec(any::<bool>(), 100),
    ) {
        // The same text in the vocabulary's own tokens and in tokens of random pieces.
        let stop = stops(&text, &cuts);
        let mut chance = vec![];
        let mut piece = String::new();
        for (character, joins) in text.chars().zip(joins) {
            piece.push(character);
            if !joins {
                chance.extend(BYTE_LEVEL.encode(&piece, false).unwrap());
                piece.clear();
            }
        }
        chance.extend(BYTE_LEVEL.encode(&piece, false).unwrap());
        let whole = BYTE_LEVEL.encode(&text, false).unwrap();
        prop_assert_eq!(run(&BYTE_LEVEL, &chance, &stop), run(&BYTE_LEVEL, &whole, &stop));
    }
}

fn byte_tokens(text: &str) -> Vec<u32> {
    let all = 0..BYTE_LEVEL.vocab_size() as u32;
    let of = |byte: u8| {
        all.clone()
            .find(|&id| BYTE_LEVEL.token_bytes(id) == [byte])
            .unwrap()
    };
    text.bytes().map(of).collect()
}

#[test]
fn a_character_comes_whole_or_not_at_all() {
    let mut detokenizer = Detokenizer::new(Arc::clone(&BYTE_LEVEL), &[]);
    let pieces: Vec<String> = byte_tokens(EMOJI)
        .into_iter()
        .map(|token| detokenizer.push(token).text)
        .collect();
    assert!(pieces.iter().all(|piece| piece.chars().count() <= 1));
    assert!(!pieces.concat().contains(char::REPLACEMENT_CHARACTER));
    assert_eq!(pieces.concat(), EMOJI);
}

#[test]
fn invalid_bytes_are_told_once_they_are_certain() {
    let tokens = byte_tokens("é漢");
    // The first byte of é, then all of 漢 but its last byte.
    let mut detokenizer = Detokenizer::new(Arc::clone(&BYTE_LEVEL), &[]);
    assert_eq!(detokenizer.push(tokens[0]).text, "");
    assert_eq!(detokenizer.push(tokens[2]).text, "\u{FFFD}");
    assert_eq!(detokenizer.push(tokens[3]).text, "");
    assert_eq!(detokenizer.finish(), "\u{FFFD}");
}

#[test]
fn a_stop_string_may_span_tokens() {
    let stop = ["END".to_owned(), "###".to_owned()];
    let mut detokenizer = Detokenizer::new(Arc::clone(&BYTE_LEVEL), &stop);
    let texts: Vec<Piece> = byte_tokens("aEN#bEND c")
        .into_iter()
        .map(|token| detokenizer.push(token))
        .collect();
    let told: Vec<&str> = texts.iter().map(|piece| piece.text.as_str()).collect();
    assert_eq!(told, ["a", "", "", "EN", "#b", "", "", "", "", ""]);
    let stopped: Vec<bool> = texts.iter().map(|piece| piece.stopped).collect();
    assert_eq!(
        stopped,
        [
            false, false, false, false, false, false, false, true, true, true
        ]
    );
    assert_eq!(detokenizer.finish(), "");
}

#[test]
fn what_was_held_back_comes_at_the_end() {
    let mut detokenizer = Detokenizer::new(Arc::clone(&BYTE_LEVEL), &["END".to_owned()]);
    let told: String = byte_tokens("the EN")
        .into_iter()
        .map(|token| detokenizer.push(token).text)
        .collect();
    assert_eq!(
        (told.as_str(), detokenizer.finish().as_str()),
        ("the ", "EN")
    );
}

#[test]
fn special_tokens_are_no_text() {
    let mut tokens = BYTE_LEVEL.encode("one<|im_end|> two", false).unwrap();
    tokens.insert(0, 1);
    assert_eq!(
        run(&BYTE_LEVEL, &tokens, &[]),
        ("one two".to_owned(), false)
    );
}

#[test]
fn sentence_pieces_first_space_is_dropped_unless_the_text_goes_on() {
    let tokens = SENTENCE_PIECE.encode("of France", false).unwrap();
    let told = |mut detokenizer: Detokenizer| {
        let text: String = tokens
            .iter()
            .map(|&token| detokenizer.push(token).text)
            .collect();
        text + &detokenizer.finish()
    };
    let share = || Arc::clone(&SENTENCE_PIECE);
    assert_eq!(told(Detokenizer::new(share(), &[])), "of France");
    assert_eq!(told(Detokenizer::continuing(share(), &[])), " of France");
}
