//! A ledger that cannot be written.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

use farthing_ledger::{ExportFormat, LedgerReader, Location, Window};
use rustix::process::{Resource, Rlimit, Signal, prlimit};
use serde_json::json;

use crate::farthing::{Farthing, Home, post};

fn complete(server: &Farthing) {
    let body = json!({"model": "tiny", "prompt": "hi", "max_tokens": 2});
    let answer = server.ask(&post("/v1/completions", "", &body));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// No file of the process may grow, as on a full disk. Files that others write still do.
fn fill_disk(server: &Farthing, is_full: bool) {
    let limit = Rlimit {
        current: is_full.then_some(0),
        maximum: None,
    };
    prlimit(Some(server.pid()), Resource::Fsize, limit).unwrap();
}

/// A server whose first row is written, and whose disk is full from then on.
fn on_a_full_disk(home: &Home) -> Farthing {
    let server = home.serve();
    complete(&server);
    server.wait_for_metric("farthing_ledger_rows_total", 1.0);
    fill_disk(&server, true);
    server.wait_for_metric("farthing_ledger_up", 0.0);
    for _ in 0..3 {
        complete(&server);
    }
    server.wait_for_metric("farthing_ledger_places_taken", 3.0);
    server
}

fn rows(home: &Home) -> u64 {
    let location = Location::Sqlite(home.path("ledger.sqlite3"));
    let mut ledger = LedgerReader::open(&location).unwrap();
    let rows = ledger.export(Window::ALL, ExportFormat::Csv, std::io::sink());
    rows.unwrap()
}

#[test]
fn a_full_disk_stops_no_answer_and_loses_no_row() {
    let home = Home::new();
    let server = on_a_full_disk(&home);
    let ready = server.get("/ready");
    assert!(ready.starts_with("HTTP/1.1 200 "), "{ready}");

    fill_disk(&server, false);
    server.wait_for_metric("farthing_ledger_up", 1.0);
    server.wait_for_metric("farthing_ledger_places_taken", 0.0);
    assert_eq!(rows(&home), 4);
    server.stop();
}

#[test]
fn rows_that_found_no_room_are_in_the_log_at_the_end() {
    let home = Home::new();
    let mut server = on_a_full_disk(&home);
    // The second signal shortens the wait for room.
    server.signal(Signal::TERM);
    server.wait_for_log("shutting down");
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(143));
    let log = server.log();
    assert_eq!(
        log.matches("this row is only in the log").count(),
        3,
        "{log}"
    );
    assert_eq!(rows(&home), 1);
}

#[test]
fn a_ledger_that_may_not_be_written_is_an_error_at_the_start() {
    let home = Home::new();
    home.serve().stop();
    // Another user may not reach the folder of the build.
    let binary = home.path("farthing");
    fs::copy(env!("CARGO_BIN_EXE_farthing"), &binary).unwrap();
    let ledger = home.path("ledger.sqlite3");
    fs::set_permissions(&ledger, fs::Permissions::from_mode(0o444)).unwrap();
    let directory = ledger.parent().unwrap();
    fs::set_permissions(directory, fs::Permissions::from_mode(0o555)).unwrap();
    let mut command = home.command_of(&binary, &home.path("tiny"));
    if fs::OpenOptions::new().write(true).open(&ledger).is_ok() {
        // Root may write everything, and anybody else may not.
        command.uid(65_534).gid(65_534);
    }
    let output = command.output().unwrap();
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(told.contains("cannot open the ledger"), "{told}");
    assert!(told.contains("may be written"), "{told}");
}
