//! The databases that every test runs on.

use std::sync::atomic::{AtomicU32, Ordering};

use farthing_ledger::Location;

/// Names a PostgreSQL server on which tests may create databases.
const POSTGRES: &str = "FARTHING_TEST_POSTGRES_URL";

/// Runs `test` on an empty ledger of each kind, given as the value of `--ledger`.
pub(crate) fn each_database(test: impl Fn(&str)) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("new").join("ledger.sqlite3");
    test(file.to_str().unwrap());

    match std::env::var(POSTGRES) {
        Ok(server) => on_postgres(&server, test),
        Err(_) => eprintln!("not run on PostgreSQL: {POSTGRES} names no server"),
    }
}

pub(crate) fn location(text: &str) -> Location {
    text.parse().unwrap()
}

fn on_postgres(server: &str, test: impl Fn(&str)) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("farthing_test_{}_{number}", std::process::id());
    let mut client = postgres::Client::connect(server, postgres::NoTls).unwrap();
    client
        .batch_execute(&format!("CREATE DATABASE {name}"))
        .unwrap();
    // postgres://user@host/database?options
    let (base, options) = server.split_once('?').unwrap_or((server, ""));
    let (host, _) = base.rsplit_once('/').unwrap();
    test(&format!("{host}/{name}?{options}"));
    let drop = format!("DROP DATABASE {name} WITH (FORCE)");
    client.batch_execute(&drop).unwrap();
}
