//! Prices by name and day.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

use farthing_economics::{
    CacheCounting, OfferClass, PriceBook, PriceBookError, TextKind, TokenizerFamily, parse_decimal,
};
use jiff::civil::{Date, date};

fn row(model: &str, input: &str, provenance: &str) -> String {
    format!(
        r#"
        [[token_price]]
        vendor = "acme"
        model = "{model}"
        class = "frontier"
        counting = "subset"
        unit = "usd_per_million_tokens"
        standard.rates = {{ input = "{input}", output = "10" }}
        provenance = {{ source = "a page", {provenance} }}
        "#
    )
}

fn book(rows: &[String]) -> Result<PriceBook, PriceBookError> {
    let mut book = PriceBook::default();
    book.extend(&rows.concat())?;
    Ok(book)
}

fn input_on(book: &PriceBook, name: &str, day: Date) -> String {
    let price = book.token_price(name, day).unwrap();
    price.standard.rates.input.unwrap().to_string()
}

#[test]
fn every_shipped_price_is_whole() {
    let book = PriceBook::shipped().unwrap();
    let day = date(2026, 11, 24);
    let prices: Vec<_> = book.token_prices(day).collect();
    assert!(prices.len() > 50, "{}", prices.len());
    for price in &prices {
        let rates = price.standard.rates;
        assert!(
            rates.input.is_some() && rates.output.is_some(),
            "{}",
            price.name()
        );
        assert!(price.provenance.valid_from.is_some(), "{}", price.name());
        assert!(price.provenance.read_on <= day, "{}", price.name());
        assert!(!price.provenance.catalogues.is_empty(), "{}", price.name());
        assert_eq!(
            price.counting == CacheCounting::Additive,
            price.vendor == "anthropic"
        );
        let tiers = price
            .standard
            .tiers
            .iter()
            .map(|tier| tier.above_prompt_tokens);
        assert!(tiers.is_sorted(), "{}", price.name());
    }
    let hosted = prices
        .iter()
        .filter(|price| price.class == OfferClass::Hosted)
        .count();
    assert!(hosted >= 8, "{hosted}");
    assert!(book.gpu_prices(day).count() > 20);
}

#[test]
fn shipped_prices_are_those_of_the_vendors_lists() {
    // As read in November 2026 in more than one place.
    let book = PriceBook::shipped().unwrap();
    let day = date(2026, 11, 24);
    for (name, input, cached, output) in [
        ("gpt-4o", "2.5", "1.25", "10"),
        ("gpt-4o-mini", "0.15", "0.075", "0.6"),
        ("gpt-5.4", "2.5", "0.25", "15"),
        ("claude-sonnet-4-6", "3", "0.3", "15"),
        ("gemini-2.5-pro", "1.25", "0.125", "10"),
    ] {
        let rates = book.token_price(name, day).unwrap().standard.rates;
        let told = [rates.input, rates.cached_input, rates.output].map(|rate| rate.unwrap());
        assert_eq!(
            told,
            [input, cached, output].map(|text| parse_decimal(text).unwrap()),
            "{name}"
        );
    }
    let long = book
        .token_price("gpt-5.4", day)
        .unwrap()
        .standard
        .for_prompt(272_001);
    assert_eq!(long.input, parse_decimal("5"));
    assert_eq!(long.output, parse_decimal("22.5"));
    let batch = book
        .token_price("openai/gpt-4o", day)
        .unwrap()
        .batch
        .clone()
        .unwrap();
    assert_eq!(batch.rates.input, parse_decimal("1.25"));
    // It doubles with the new year.
    let flash = |day| input_on(&book, "gemini-3.8-flash", day);
    assert_eq!(flash(date(2026, 12, 31)), "0.75");
    assert_eq!(flash(date(2027, 1, 1)), "1.5");
}

#[test]
fn a_price_holds_from_its_first_day_to_its_last() {
    let book = book(&[
        row(
            "m",
            "1",
            r#"read_on = "2026-01-01", valid_to = "2026-02-28""#,
        ),
        row(
            "m",
            "2",
            r#"read_on = "2026-03-01", valid_from = "2026-03-01", valid_to = "2026-06-30""#,
        ),
        row(
            "m",
            "3",
            r#"read_on = "2026-08-01", valid_from = "2026-08-01""#,
        ),
    ])
    .unwrap();
    for (day, input) in [
        (date(1999, 1, 1), "1"),
        (date(2026, 2, 28), "1"),
        (date(2026, 3, 1), "2"),
        (date(2026, 6, 30), "2"),
        (date(2026, 8, 1), "3"),
        (date(2099, 1, 1), "3"),
    ] {
        assert_eq!(input_on(&book, "m", day), input, "{day}");
        assert_eq!(input_on(&book, "acme/m", day), input, "{day}");
    }
    let error = book.token_price("m", date(2026, 7, 1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no price of acme/m for 2026-07-01: the price book has it until 2026-02-28 and from \
         2026-03-01 to 2026-06-30 and from 2026-08-01 on"
    );
}

#[test]
fn two_prices_on_one_day_are_one_too_many() {
    let error = book(&[
        row(
            "m",
            "1",
            r#"read_on = "2026-01-01", valid_from = "2026-01-01""#,
        ),
        row(
            "m",
            "2",
            r#"read_on = "2026-03-01", valid_from = "2026-03-01""#,
        ),
    ])
    .unwrap_err();
    assert_eq!(error.to_string(), "two prices of acme/m hold on 2026-03-01");
}

#[test]
fn ones_own_rows_go_before_the_shipped_ones() {
    let mut book = PriceBook::shipped().unwrap();
    let own = row(
        "gpt-4o",
        "1",
        r#"read_on = "2026-11-01", valid_from = "2026-11-01""#,
    );
    book.extend(&own.replace("acme", "openai")).unwrap();
    assert_eq!(input_on(&book, "gpt-4o", date(2026, 11, 24)), "1");
}

#[test]
fn a_name_that_is_not_there_finds_its_neighbours() {
    let book = PriceBook::shipped().unwrap();
    let told = |name| {
        book.token_price(name, date(2026, 11, 24))
            .unwrap_err()
            .to_string()
    };
    assert!(
        told("gpt-4").contains("similar names are openai/gpt-4o"),
        "{}",
        told("gpt-4")
    );
    assert!(told("gpt-4o-2024-05-13").contains("openai/gpt-4o"));
    assert!(told("zzz").ends_with("in the price book"));
    let mut book = book.clone();
    let own = row(
        "gpt-4o",
        "1",
        r#"read_on = "2026-11-01", valid_from = "2026-11-01""#,
    );
    book.extend(&own).unwrap();
    let error = book.token_price("gpt-4o", date(2026, 11, 24)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "several vendors sell \"gpt-4o\": expected openai/gpt-4o or acme/gpt-4o"
    );
}

#[test]
fn a_price_is_stale_after_thirty_days() {
    let provenance = r#"read_on = "2026-10-01", valid_from = "2026-10-01""#;
    let book = book(&[
        row("dated", "1", provenance),
        row(
            "undated",
            "1",
            &format!("{provenance}, undated_copy = true"),
        ),
    ])
    .unwrap();
    let stale = |name, today| {
        let price = book.token_price(name, date(2026, 10, 1)).unwrap();
        price.provenance.is_stale(today)
    };
    assert!(!stale("dated", date(2026, 10, 31)));
    assert!(stale("dated", date(2026, 11, 1)));
    assert!(
        stale("dated", date(2027, 10, 1)),
        "a year is more than 30 days"
    );
    assert!(stale("undated", date(2026, 10, 1)));
}

#[test]
fn a_row_that_says_too_little_or_too_much_is_refused() {
    let whole = row(
        "m",
        "1",
        r#"read_on = "2026-01-01", valid_from = "2026-01-01""#,
    );
    book(std::slice::from_ref(&whole)).unwrap();
    for (from, to, why) in [
        (
            r#"input = "1""#,
            r#"input = "0""#,
            "a rate of zero is an unknown one",
        ),
        (
            r#"input = "1""#,
            r#"input = "-1""#,
            "-1 cannot be US dollars per million tokens",
        ),
        (r#"input = "1""#, "input = 0.1", "expected a string"),
        (r#"input = "1""#, r#"inptu = "1""#, "unknown field"),
        (
            "usd_per_million_tokens",
            "usd_per_thousand_tokens",
            "unknown variant",
        ),
        (
            r#"read_on = "2026-01-01""#,
            r#"read_on = "yesterday""#,
            "read_on",
        ),
        (r#"read_on = "2026-01-01","#, "", "missing field `read_on`"),
        (r#"source = "a page","#, "", "missing field `source`"),
        ("valid_from", "valid_form", "unknown field"),
    ] {
        let changed = whole.replace(from, to);
        assert_ne!(changed, whole);
        let error = book(&[changed]).unwrap_err().to_string();
        assert!(error.contains(why), "{to}: {error}");
    }
}

#[test]
fn tokenizers_split_the_same_text_differently() {
    let ratio = |from: TokenizerFamily, to, kind| {
        from.ratio_to(to, kind).map(|it| it.round_dp(4).to_string())
    };
    use TokenizerFamily::{Cl100k, Llama3, MistralSp, O200k};
    assert_eq!(
        ratio(O200k, MistralSp, TextKind::English).as_deref(),
        Some("1.27")
    );
    assert_eq!(
        ratio(O200k, MistralSp, TextKind::Russian).as_deref(),
        Some("1.67")
    );
    // 1 / 1.27.
    assert_eq!(
        ratio(MistralSp, O200k, TextKind::English).as_deref(),
        Some("0.7874")
    );
    assert_eq!(ratio(Llama3, Llama3, TextKind::Json).as_deref(), Some("1"));
    assert_eq!(ratio(Cl100k, O200k, TextKind::Rust), None, "not measured");
    for family in TokenizerFamily::ALL {
        assert!(family.tokens_per_o200k_token(TextKind::English).is_some());
    }
}

#[test]
fn names_as_in_responses_are_found() {
    let book = PriceBook::shipped().unwrap();
    let found = |name: &str| {
        let price = book.token_price(name, date(2026, 11, 24));
        price
            .map(|price| price.name())
            .map_err(|error| error.to_string())
    };
    for (name, expected) in [
        ("gpt-4o-2024-08-06", "openai/gpt-4o"),
        ("openai/gpt-4o-mini-2024-07-18", "openai/gpt-4o-mini"),
        ("claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4-5"),
        (
            "anthropic/claude-sonnet-4-5@20250929",
            "anthropic/claude-sonnet-4-5",
        ),
        ("models/gemini-2.5-flash", "google/gemini-2.5-flash"),
        ("gemini/gemini-2.5-flash-001", "google/gemini-2.5-flash"),
        ("ministral-8b-2512", "mistral/ministral-8b-2512"),
    ] {
        assert_eq!(found(name).as_deref(), Ok(expected), "{name}");
    }
    // Another price, another vendor, a fine-tuned model, another model, no day.
    for name in [
        "gpt-4o-2024-05-13",
        "azure/gpt-4o",
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "ft:gpt-4o-mini-2024-07-18:acme::1",
        "gpt-4o-audio-preview-2024-12-17",
        "gpt-4o-1234-56",
        "gemini-2.5-flash-preview-001",
        "é-2024-08-06",
        "",
    ] {
        assert!(found(name).unwrap_err().contains("no price of"), "{name}");
    }
}
