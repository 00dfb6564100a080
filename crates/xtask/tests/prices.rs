//! The importer, on catalogues of two or three models.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

use std::fs;
use std::path::Path;

use xtask::prices::{Import, PricesArgs, import};

fn run(litellm: &str, genai: &str, out: &Path) -> anyhow::Result<Import> {
    let [litellm_path, genai_path] = ["litellm.json", "genai.json"].map(|name| out.join(name));
    fs::write(&litellm_path, litellm).unwrap();
    fs::write(&genai_path, genai).unwrap();
    import(&PricesArgs {
        litellm: litellm_path,
        litellm_version: Some("1.0".to_owned()),
        litellm_read_on: Some("2026-11-12".parse().unwrap()),
        genai: genai_path,
        genai_version: None,
        genai_read_on: Some("2026-11-10".parse().unwrap()),
        out: out.to_owned(),
    })
}

/// The row of a model in a book, without its header.
fn row(out: &Path, book: &str, model: &str) -> Option<String> {
    let text = fs::read_to_string(out.join(book)).unwrap();
    let rows = text.split("[[token_price]]").skip(1).map(str::to_owned);
    rows.into_iter()
        .find(|row| row.contains(&format!("model = \"{model}\"")))
}

fn genai(models: &str) -> String {
    format!(r#"[{{"id": "openai", "pricing_urls": ["https://a.page"], "models": [{models}]}}]"#)
}

const GPT_4O: &str = r#"{"gpt-4o": {"input_cost_per_token": 2.5e-06, "output_cost_per_token": 1e-05,
    "cache_read_input_token_cost": 1.25e-06, "input_cost_per_token_batches": 1.25e-06,
    "output_cost_per_token_batches": 5e-06, "input_cost_per_token_priority": 4.25e-06,
    "source": "https://the.page"}}"#;

#[test]
fn what_both_say_is_merged() {
    let out = tempfile::tempdir().unwrap();
    let genai = genai(
        r#"{"id": "gpt-4o", "prices": {"input_mtok": 2.5, "output_mtok": 10.0, "cache_write_mtok": 0.0}}"#,
    );
    let import = run(GPT_4O, &genai, out.path()).unwrap();
    assert!(import.is_without_conflicts());
    assert_eq!(
        row(out.path(), "openai.toml", "gpt-4o").unwrap().trim(),
        r#"vendor = "openai"
model = "gpt-4o"
class = "frontier"
counting = "subset"
tokenizer = "o200k"
unit = "usd_per_million_tokens"
standard.rates = { input = "2.5", cached_input = "1.25", output = "10" }
batch.rates = { input = "1.25", output = "5" }
provenance = { source = "https://the.page", read_on = "2026-11-10", valid_from = "2026-11-10", catalogues = ["LiteLLM 1.0", "genai-prices"] }"#
    );
    // All others are in neither catalogue.
    assert!(import.absent.contains(&"openai/gpt-5".to_owned()));
}

#[test]
fn what_they_disagree_on_is_in_no_book() {
    let out = tempfile::tempdir().unwrap();
    let genai = genai(
        r#"{"id": "gpt-4o", "prices": {"input_mtok": 2.5, "output_mtok": 15.0, "cache_read_mtok": 1.0}}"#,
    );
    let import = run(GPT_4O, &genai, out.path()).unwrap();
    assert!(!import.is_without_conflicts());
    assert_eq!(
        import.conflicts,
        [
            "openai/gpt-4o: cached_input is 1.25 in LiteLLM 1.0 and 1 in genai-prices",
            "openai/gpt-4o: output is 10 in LiteLLM 1.0 and 15 in genai-prices",
        ]
    );
    assert_eq!(row(out.path(), "openai.toml", "gpt-4o"), None);
    assert!(
        import
            .to_string()
            .contains("conflict, left out: openai/gpt-4o: output")
    );
}

#[test]
fn tiers_and_days_are_kept() {
    let out = tempfile::tempdir().unwrap();
    let litellm = r#"{"gpt-4o": {"input_cost_per_token": 2e-06, "input_cost_per_token_above_272k_tokens": 4e-06, "output_cost_per_token": 1e-05}}"#;
    let genai = genai(
        r#"{"id": "gpt-4o", "prices": [
            {"prices": {"input_mtok": 1.0, "output_mtok": 5.0}},
            {"constraint": {"start_date": "2026-08-01"},
             "prices": {"input_mtok": {"base": 2.0, "tiers": [{"start": 272000, "price": 4.0}]}, "output_mtok": 10.0}},
            {"constraint": {"start_date": "2027-01-01"}, "prices": {"input_mtok": 3.0, "output_mtok": 12.5}}],
          "price_variants": [
            {"when": {"processing": "batch"}, "prices": {"input_mtok": 0.5}, "constraint": {"start_date": "2026-07-01"}},
            {"when": {"processing": "batch"}, "prices": {"input_mtok": 1.5}, "constraint": {"start_date": "2027-01-01"}},
            {"when": {"service_tier": "flex"}, "prices": {"input_mtok": 9.0}}]}"#,
    );
    assert!(
        run(litellm, &genai, out.path())
            .unwrap()
            .is_without_conflicts()
    );
    let text = fs::read_to_string(out.path().join("openai.toml")).unwrap();
    let rows: Vec<_> = text.split("[[token_price]]").skip(1).collect();
    assert_eq!(rows.len(), 3);
    assert!(
        rows[0].contains(r#"standard.rates = { input = "1", output = "5" }"#),
        "{}",
        rows[0]
    );
    assert!(rows[0].contains(r#"valid_to = "2026-07-31""#) && !rows[0].contains("valid_from"));
    assert!(
        rows[0].contains(r#"batch.rates = { input = "0.5" }"#),
        "{}",
        rows[0]
    );
    assert!(rows[1].contains(
        r#"standard.tiers = [{ above_prompt_tokens = 272000, rates = { input = "4" } }]"#
    ));
    assert!(
        rows[1].contains(r#"valid_from = "2026-08-01", valid_to = "2026-12-31""#),
        "{}",
        rows[1]
    );
    assert!(rows[1].contains("LiteLLM 1.0"));
    assert!(
        rows[2].contains(r#"batch.rates = { input = "1.5" }"#),
        "{}",
        rows[2]
    );
    assert!(
        rows[2].contains(r#"valid_from = "2027-01-01", catalogues = ["genai-prices"]"#),
        "{}",
        rows[2]
    );
}

#[test]
fn zero_and_the_past_are_no_prices() {
    let out = tempfile::tempdir().unwrap();
    let litellm = r#"{
        "gpt-4o": {"input_cost_per_token": 0.0, "output_cost_per_token": 0.0},
        "gpt-5": {"input_cost_per_token": 1e-06, "output_cost_per_token": 1e-05, "deprecation_date": "2026-10-20"},
        "gpt-5-mini": {"input_cost_per_token": 1e-06, "output_cost_per_token": 1e-05, "deprecation_date": "2026-12-24"}}"#;
    let import = run(litellm, "[]", out.path()).unwrap();
    assert!(import.absent.contains(&"openai/gpt-4o".to_owned()));
    assert!(import.absent.contains(&"openai/gpt-5".to_owned()));
    let mini = row(out.path(), "openai.toml", "gpt-5-mini").unwrap();
    assert!(
        mini.contains(r#"valid_from = "2026-11-12", valid_to = "2026-12-24""#),
        "{mini}"
    );
}

#[test]
fn what_is_no_catalogue_writes_nothing() {
    let out = tempfile::tempdir().unwrap();
    for (litellm, genai) in [("[]", "[]"), ("{}", "{}"), ("nonsense", "[]")] {
        let error = run(litellm, genai, out.path()).unwrap_err();
        assert!(format!("{error:#}").contains("catalogue"), "{error:#}");
    }
    assert!(!out.path().join("openai.toml").exists());
}
