//! No price file makes the reader panic, and whatever is read can be asked.

#![allow(clippy::unwrap_used)]

use farthing_economics::PriceBook;
use farthing_fuzz::{Campaign, mutate_bytes, mutate_text};
use jiff::civil::date;

const WORDS: &[&str] = &[
    "[[token_price]]\n",
    "[[gpu_price]]\n",
    "input = ",
    "\"",
    "1e999",
    "-1",
    "0",
    "nan",
    "inf",
    "=",
    "79228162514264337593543950335",
    "0.00000000000000000000000000001",
    "2026-02-30",
    "9999-12-31",
    "{",
    "}",
    "[",
    "]",
    "\n",
    "'''",
    "tiers = [",
    "source = ",
    "until = ",
    "from = ",
];

#[test]
fn price_files() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/prices");
    let files = std::fs::read_dir(directory).unwrap();
    let seeds: Vec<String> = files
        .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
        // A few rows are enough, and much faster.
        .map(|text| text[..text.floor_char_boundary(4000)].to_owned())
        .map(|text| text[..text.rfind("\n[[").unwrap_or(text.len())].to_owned())
        .collect();
    let day = date(2026, 11, 28);
    Campaign::new("price_file", 10_000).run(
        |random| {
            let seed = random.pick(&seeds).clone();
            if random.one_in(4) {
                mutate_bytes(random, seed.as_bytes())
            } else {
                mutate_text(random, &seed, WORDS).into()
            }
        },
        |input| {
            let mut book = PriceBook::default();
            if book.extend(&String::from_utf8_lossy(input)).is_ok() {
                book.token_prices(day).count();
                book.gpu_prices(day).count();
                book.cheapest_endpoint(day);
            }
        },
    );
}
