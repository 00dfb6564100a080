//! What subcommands print where nothing can be written.

use std::fs::File;
use std::process::{Command, Stdio};

use crate::farthing::Home;

fn full() -> Stdio {
    File::options()
        .write(true)
        .open("/dev/full")
        .unwrap()
        .into()
}

fn farthing(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_farthing"));
    command.args(words);
    command
}

#[test]
fn a_full_disk_is_an_error_and_no_panic() {
    let home = Home::new();
    home.serve().stop();
    let ledger = home.path("ledger.sqlite3");
    let ledger = ledger.to_str().unwrap();
    for words in [
        &["price", "--list"][..],
        &["price", "--list", "--json"],
        &["ledger", "invoice", "--ledger", ledger],
        &["ledger", "invoice", "--json", "--ledger", ledger],
        &[
            "ledger", "export", "--format", "csv", "--out", "-", "--ledger", ledger,
        ],
        &[
            "ledger", "export", "--format", "parquet", "--out", "-", "--ledger", ledger,
        ],
    ] {
        let output = farthing(words).stdout(full()).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{words:?}: {told}");
        assert!(
            told.starts_with("error: cannot write the "),
            "{words:?}: {told}"
        );
        assert!(told.contains("No space left"), "{words:?}: {told}");
    }
}

#[test]
fn what_cannot_be_told_stops_nothing() {
    let home = Home::new();
    let keys = home.path("keys.toml");
    let keys = keys.to_str().unwrap();
    let add = ["keys", "add", "--keys", keys, "--name", "prod"];
    let output = farthing(&add).stderr(full()).output().unwrap();
    assert!(output.status.success());
    assert!(output.stdout.starts_with(b"sk-"), "{output:?}");
}
