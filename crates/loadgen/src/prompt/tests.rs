use rand::SeedableRng;
use rand::rngs::StdRng;

use super::{PromptFit, block_words, random_words};

#[test]
fn the_line_goes_through_both_counts() {
    // 31 tokens of template, one token a word.
    let fit = PromptFit::through((16, 47), (80, 111)).unwrap();
    assert_eq!((fit.overhead_tokens, fit.tokens_per_word), (31.0, 1.0));
    assert_eq!(fit.words(128), 97);
    assert_eq!(fit.tokens(97), 128);
    // Shorter than the template alone: a prompt has at least a word.
    assert_eq!(fit.words(5), 1);
}

#[test]
fn counts_that_cannot_be_are_no_fit() {
    assert_eq!(PromptFit::through((16, 1), (80, 1)), None);
    assert_eq!(PromptFit::through((16, 90), (80, 50)), None);
    assert_eq!(PromptFit::through((16, 1), (16, 2)), None);
}

#[test]
fn a_seed_says_the_same_words() {
    let words = |seed| random_words(&mut StdRng::seed_from_u64(seed), 50);
    assert_eq!(words(1), words(1));
    assert_ne!(words(1), words(2));
    assert_eq!(words(1).split(' ').count(), 50);
}

#[test]
fn prompts_with_the_same_first_blocks_begin_alike() {
    let fit = PromptFit::default();
    let one = block_words(3, &[0, 7, 8], &fit, 1100);
    let other = block_words(3, &[0, 7, 9], &fit, 1300);
    let common = one
        .split(' ')
        .zip(other.split(' '))
        .take_while(|(one, other)| one == other)
        .count();
    assert!((1024..1030).contains(&common), "{common}");
    assert_eq!(one.split(' ').count(), 1100);
    assert_eq!(other.split(' ').count(), 1300);
}

#[test]
fn a_prompt_may_be_shorter_or_longer_than_its_blocks() {
    let fit = PromptFit::default();
    assert_eq!(
        block_words(3, &[0, 7, 8], &fit, 100).split(' ').count(),
        100
    );
    assert_eq!(block_words(3, &[0], &fit, 700).split(' ').count(), 700);
}
