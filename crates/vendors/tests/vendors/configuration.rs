//! Vendors' tables in TOML.

use std::io::Write;

use farthing_economics::PriceBook;
use farthing_vendors::{Vendor, VendorConfig};

use crate::fake_vendor::{FakeVendor, Play};
use crate::setup::{ask, configured, outcome};

fn refused(toml: &str) -> String {
    configured(toml).expect_err("it is refused").to_string()
}

#[test]
fn what_is_wrong_is_named() {
    let local = "dialect = \"openai\"\nbase_url = \"http://127.0.0.1:1\"\n";
    let table = |more: &str| format!("{local}{more}");
    let base = |url: &str| format!("dialect = \"openai\"\nbase_url = \"{url}\"");
    for (toml, words) in [
        (
            base("https://api.openai.com/v1"),
            "api.openai.com needs a key: set `key_env` or `key_file`",
        ),
        (base("https://api.anthropic.com"), "needs a key"),
        (base("https://eu.api.openai.com/v1"), "needs a key"),
        (base("ftp://x"), "must begin with https:// or http://"),
        (base("/v1"), "not an absolute address"),
        (base("http://me:hunter2@x/v1"), "holds a name or a password"),
        (base("http://x/v1?key=hunter2"), "no query"),
        (
            base("http://api.openai.com/v1") + "\nkey_env = \"THE_KEY\"",
            "needs https",
        ),
        (
            table("key_env = \"MISSING\""),
            "\"MISSING\", which is not set or empty",
        ),
        (table("key_env = \"A\"\nkey_file = \"b\""), "both set"),
        (table("key_file = \"/nonexistent/key\""), "/nonexistent/key"),
        (
            table("price_list = \"opnai\""),
            "no such vendor: it has anthropic",
        ),
        (
            table("max_concurrent = 0"),
            "`max_concurrent` must be a whole number above 0",
        ),
        (
            table("max_output_tokens = { m = 0 }"),
            "`max_output_tokens`",
        ),
        (
            table("timeouts = { idle_seconds = 0 }"),
            "`timeouts.idle_seconds` must be a number of seconds",
        ),
        (
            table("timeouts = { total_seconds = inf }"),
            "`timeouts.total_seconds`",
        ),
        (
            table("headers = { Authorization = \"Bearer x\" }"),
            "belongs to the key",
        ),
        (
            table("headers = { \"bad name\" = \"x\" }"),
            "no name of a header",
        ),
        (
            table("headers = { Fine = \"line\\nbreak\" }"),
            "whose value",
        ),
    ] {
        let problem = refused(&toml);
        assert!(problem.contains(words), "{toml}\n{problem}");
        assert!(problem.starts_with("vendor \"fake\": "), "{problem}");
        assert!(!problem.contains("hunter2"), "{problem}");
    }
}

#[test]
fn fields_are_strict_and_money_is_text() {
    let table = |more: &str| format!("dialect = \"openai\"\nbase_url = \"http://x\"\n{more}");
    for (more, words) in [
        ("key = \"sk-1\"", "unknown field `key`"),
        ("usd_per_day = 20.5", "invalid type"),
        ("usd_per_day = \"0\"", "above zero"),
        ("usd_per_day = \"-1\"", "above zero"),
        ("prices.m.rates = { input = 0.5 }", "invalid type"),
        (
            "prices.m.rates = { input = \"0\" }",
            "a rate of zero is an unknown one",
        ),
        ("timeouts = { first = 3 }", "unknown field `first`"),
    ] {
        let error = toml::from_str::<VendorConfig>(&table(more))
            .unwrap_err()
            .to_string();
        assert!(error.contains(words), "{more}\n{error}");
    }
    let dialect = table("").replace("openai", "bedrock");
    let error = toml::from_str::<VendorConfig>(&dialect)
        .unwrap_err()
        .to_string();
    assert!(error.contains("`openai`, `anthropic`, `google`"), "{error}");
}

#[tokio::test]
async fn a_key_comes_from_a_file_and_own_servers_need_none() {
    let fake = FakeVendor::start(|_| Play::stream("data: [DONE]\n\n")).await;
    let table = format!(
        "dialect = \"openai\"\nbase_url = \"http://{}/v1/\"\n",
        fake.address
    );
    outcome(ask(&configured(&table).unwrap())).await;
    let seen = fake.seen().pop().unwrap();
    assert_eq!(seen.headers.get("authorization"), None);
    assert_eq!(seen.target, "/v1/chat/completions", "one slash");

    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "sk-from-a-file").unwrap();
    let with_file = format!("{table}key_file = \"{}\"", file.path().display());
    outcome(ask(&configured(&with_file).unwrap())).await;
    assert_eq!(
        fake.seen().pop().unwrap().headers["authorization"],
        "Bearer sk-from-a-file"
    );

    writeln!(file, "a second line").unwrap();
    assert!(refused(&with_file).contains("is it only the key, on one line?"));
    let empty = tempfile::NamedTempFile::new().unwrap();
    let with_empty = format!("{table}key_file = \"{}\"", empty.path().display());
    assert!(refused(&with_empty).contains("is empty"));
    let folder = tempfile::tempdir().unwrap();
    let with_folder = format!("{table}key_file = \"{}\"", folder.path().display());
    assert!(refused(&with_folder).contains("not a regular file"));
}

#[test]
fn the_public_vendors_can_be_set_up() {
    let books = PriceBook::shipped().unwrap();
    for (dialect, url) in [
        ("openai", "https://api.openai.com/v1"),
        ("anthropic", "https://api.anthropic.com/v1"),
        ("google", "https://generativelanguage.googleapis.com/v1beta"),
    ] {
        let toml = format!(
            "dialect = \"{dialect}\"\nbase_url = \"{url}\"\nkey_env = \"K\"\nprice_list = \"{dialect}\""
        );
        let config = toml::from_str(&toml).unwrap();
        let vendor = Vendor::new(dialect, config, &|_| Some("key".to_owned()), &books).unwrap();
        assert_eq!(vendor.name(), dialect);
    }
}
