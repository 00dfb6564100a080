//! Checks the dependencies between the workspace's crates.

use toml::{Table, Value};

use super::Finding;
use super::source::{SourceFile, Tree};

/// The crates and the workspace crates that each may use, in the order of the table in
/// ARCHITECTURE.md.
const ARROWS: &[(&str, &[&str])] = &[
    ("api", &[]),
    ("scheduler", &[]),
    ("ops", &[]),
    ("model", &["scheduler", "ops"]),
    ("engine", &["scheduler", "model"]),
    ("economics", &[]),
    ("experiment", &["economics"]),
    ("ledger", &["economics"]),
    ("keys", &[]),
    ("fuzz", &[]),
    ("vendors", &["economics"]),
    (
        "gateway",
        &["api", "economics", "experiment", "ledger", "vendors"],
    ),
    ("loadgen", &["api", "economics"]),
    ("selftest", &["scheduler", "ops", "model"]),
    ("testkit", &["model"]),
    (
        "server",
        &[
            "api",
            "scheduler",
            "ops",
            "model",
            "engine",
            "economics",
            "experiment",
            "ledger",
            "keys",
            "vendors",
            "gateway",
            "loadgen",
            "selftest",
        ],
    ),
    ("xtask", &[]),
];
/// The crates that tests share. Every crate may have them as dev-dependencies, and only as that.
const TEST_CRATES: [&str; 2] = ["fuzz", "testkit"];
const OUR_PREFIX: &str = "farthing-";

pub(super) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    for manifest in tree.files() {
        let name = manifest
            .path
            .strip_prefix("crates/")
            .and_then(|it| it.strip_suffix("/Cargo.toml"));
        let Some(name) = name.filter(|name| !name.contains('/')) else {
            continue;
        };
        let Some((_, allowed)) = ARROWS.iter().find(|(crate_name, _)| *crate_name == name) else {
            findings.push(Finding::error(
                &manifest.path,
                0,
                format!("no arrow leads to `{name}`: draw one in the architecture and in xtask"),
            ));
            continue;
        };
        check_manifest(manifest, name, allowed, findings);
    }
}

fn check_manifest(
    manifest: &SourceFile,
    name: &str,
    allowed: &[&str],
    findings: &mut Vec<Finding>,
) {
    let table: Table = match manifest.text.parse() {
        Ok(table) => table,
        Err(error) => {
            findings.push(Finding::error(
                &manifest.path,
                0,
                format!("no TOML: {error}"),
            ));
            return;
        }
    };
    for (used, kind) in our_dependencies(&table) {
        let is_for_tests = TEST_CRATES.contains(&used.as_str()) && kind == "dev-dependencies";
        if !is_for_tests && !allowed.contains(&used.as_str()) {
            let line = manifest.text.lines().position(|line| line.contains(&*used));
            findings.push(Finding::error(
                &manifest.path,
                line.map_or(0, |line| line + 1),
                format!("`{name}` may not use `{used}`; it may use {allowed:?}"),
            ));
        }
    }
}

/// The workspace crates among all dependencies (normal, dev, build, and of single targets), with
/// their kind.
fn our_dependencies(table: &Table) -> Vec<(String, &'static str)> {
    let targets = table.get("target").and_then(Value::as_table);
    let tables = targets
        .into_iter()
        .flat_map(Table::values)
        .filter_map(Value::as_table);
    tables
        .chain([table])
        .flat_map(|table| {
            ["dependencies", "dev-dependencies", "build-dependencies"]
                .into_iter()
                .filter_map(|kind| Some((kind, table.get(kind)?.as_table()?)))
        })
        .flat_map(|(kind, table)| table.iter().map(move |(key, value)| (kind, key, value)))
        .filter_map(|(kind, key, value)| {
            let package = value.get("package").and_then(Value::as_str).unwrap_or(key);
            Some((package.strip_prefix(OUR_PREFIX)?.to_owned(), kind))
        })
        .collect()
}
