//! Faults in texts of a language.

use crate::Random;

/// A copy with one to six faults: `words` inserted, once or up to a thousand times, and parts removed,
/// repeated or exchanged.
pub fn mutate_text(random: &mut Random, seed: &str, words: &[&str]) -> String {
    let mut text = seed.to_owned();
    for _ in 0..1 + random.below(6) {
        let from = boundary(random, &text);
        let length = random.below(40);
        let word = *random.pick(words);
        let to = text.floor_char_boundary((from + length).min(text.len()));
        match random.below(6) {
            0 => text.replace_range(from..to, ""),
            1 => {
                let part = text[from..to].to_owned();
                let at = boundary(random, &text);
                let repeats = 1 + random.below(3);
                text.insert_str(at, &part.repeat(repeats));
            }
            2 => text.replace_range(from..to, word),
            3 => {
                let repeats = match random.below(8) {
                    0 => 1 + random.below(1000),
                    _ => 1 + random.below(8),
                };
                text.insert_str(from, &word.repeat(repeats));
            }
            _ => text.insert_str(from, word),
        }
    }
    text
}

fn boundary(random: &mut Random, text: &str) -> usize {
    text.floor_char_boundary(random.below(text.len() + 1))
}
