//! Which databases are recognised as ledgers.

use farthing_ledger::{Filter, GroupBy, Ledger, LedgerError, LedgerReader, Location, Window};

use crate::databases::{each_database, location};
use crate::samples::{Clock, close, entry, open, reader, record};

#[test]
fn a_newer_ledger_is_left_alone() {
    each_database(|database| {
        close(&open(database, &Clock::default()));
        set_version(database, 99);
        for refused in [
            Ledger::check(&location(database)).err(),
            LedgerReader::open(&location(database)).err(),
        ] {
            assert!(
                matches!(refused, Some(LedgerError::TooNew { found: 99, .. })),
                "{refused:?}"
            );
        }
    });
}

#[test]
fn a_reader_makes_no_ledger() {
    each_database(|database| {
        let refused = LedgerReader::open(&location(database)).err();
        assert!(
            matches!(refused, Some(LedgerError::Open { .. })),
            "{refused:?}"
        );
        if let Location::Sqlite(path) = location(database) {
            assert!(!path.exists());
        }
    });
}

#[test]
fn many_may_make_it_at_once() {
    each_database(|database| {
        let threads = [(); 4].map(|()| {
            let location = location(database);
            std::thread::spawn(move || Ledger::check(&location).unwrap())
        });
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        LedgerReader::open(&location(database)).unwrap();
    });
}

#[test]
fn another_programs_file_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("other.sqlite3");
    let other = rusqlite::Connection::open(&path).unwrap();
    other
        .execute_batch("CREATE TABLE notes (note TEXT)")
        .unwrap();
    drop(other);
    let before = std::fs::read(&path).unwrap();
    let refused = Ledger::check(&Location::Sqlite(path.clone()));
    assert!(
        matches!(refused, Err(LedgerError::Open { .. })),
        "{refused:?}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), before);

    let text = directory.path().join("text.txt");
    std::fs::write(&text, "no database at all, but a text of more than a hundred bytes, since that is how long a header is.....").unwrap();
    assert!(Ledger::check(&Location::Sqlite(text)).is_err());
}

/// The first schema had no daily sums, and the second one no tenants.
#[test]
fn an_older_ledger_is_brought_up_to_date() {
    each_database(|database| is_brought_up_to_date(database, 1));
    each_database(|database| is_brought_up_to_date(database, 2));
}

fn is_brought_up_to_date(database: &str, version: i64) {
    let ledger = open(database, &Clock::default());
    for after in [0.0, 1.0, 86_400.0] {
        record(&ledger, entry(after));
    }
    close(&ledger);
    let usage = || {
        reader(database).usage(
            Window::ALL,
            i64::MAX / 1_000_000,
            GroupBy::default(),
            &Filter::default(),
        )
    };
    let before = usage().unwrap();
    let (sqlite, postgres) = match version {
        2 => (
            include_str!("../../src/schema/2.sqlite.sql"),
            include_str!("../../src/schema/2.postgres.sql"),
        ),
        _ => ("", ""),
    };
    match location(database) {
        Location::Sqlite(path) => rusqlite::Connection::open(path)
            .unwrap()
            .execute_batch(&format!(
                "DROP TRIGGER attempt_days_add; DROP TABLE attempt_days; \
                     ALTER TABLE attempts DROP COLUMN tenant; {sqlite}"
            ))
            .unwrap(),
        Location::Postgres(url) => postgres::Client::connect(&url, postgres::NoTls)
            .unwrap()
            .batch_execute(&format!(
                "SET search_path TO farthing; DROP TRIGGER attempt_days_add ON attempts; \
                     DROP FUNCTION attempt_days_add; DROP TABLE attempt_days; \
                     ALTER TABLE attempts DROP COLUMN tenant; {postgres}"
            ))
            .unwrap(),
    }
    set_version(database, version);
    let refused = LedgerReader::open(&location(database)).err();
    assert!(
        matches!(refused, Some(LedgerError::Open { .. })),
        "{refused:?}"
    );
    close(&open(database, &Clock::default()));
    assert_eq!(usage().unwrap(), before);
    let counts = before.values().flat_map(|groups| groups.values());
    assert_eq!(counts.map(|usage| usage.requests).sum::<u64>(), 3);
}

fn set_version(database: &str, version: i64) {
    match location(database) {
        Location::Sqlite(path) => rusqlite::Connection::open(path)
            .unwrap()
            .pragma_update(None, "user_version", version)
            .unwrap(),
        Location::Postgres(url) => postgres::Client::connect(&url, postgres::NoTls)
            .unwrap()
            .execute(
                "UPDATE farthing.schema_version SET version = $1",
                &[&version],
            )
            .map(drop)
            .unwrap(),
    }
}
