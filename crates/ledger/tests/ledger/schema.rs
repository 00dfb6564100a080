//! Which databases are recognised as ledgers.

use std::collections::BTreeMap;

use farthing_ledger::{
    ExportFormat, Filter, GroupBy, Groups, Ledger, LedgerError, LedgerReader, Location,
    Picoseconds, Window,
};

use crate::databases::{each_database, location};
use crate::samples::{Clock, MICROS, SIX, close, entry, open, reader, record};

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

/// The first schema had no daily sums, the second one no tenants, the third one no vendors.
#[test]
fn an_older_ledger_is_brought_up_to_date() {
    let afters = [0.0, 1.0, 86_400.0];
    for version in 1..=3 {
        each_database(|database| {
            make_old(database, version, &afters);
            let refused = LedgerReader::open(&location(database)).err();
            assert!(
                matches!(refused, Some(LedgerError::Open { .. })),
                "{refused:?}"
            );
            close(&open(database, &Clock::default()));
            let found = (usage(database), rows(database));
            each_database(|fresh| {
                if is_same_kind(fresh, database) {
                    let ledger = open(fresh, &Clock::default());
                    afters
                        .iter()
                        .for_each(|after| record(&ledger, entry(*after)));
                    close(&ledger);
                    assert_eq!(found, (usage(fresh), rows(fresh)), "from {version}");
                }
            });
            let groups = found.0.values().flat_map(|groups| groups.values());
            assert_eq!(groups.map(|usage| usage.requests).sum::<u64>(), 3);
        });
    }
}

fn usage(database: &str) -> BTreeMap<i64, Groups> {
    let whole = i64::MAX / 1_000_000;
    let usage = reader(database).usage(Window::ALL, whole, GroupBy::default(), &Filter::default());
    usage.unwrap()
}

fn rows(database: &str) -> String {
    let mut out = Vec::new();
    reader(database)
        .export(Window::ALL, ExportFormat::Csv, &mut out)
        .unwrap();
    String::from_utf8(out).unwrap()
}

fn is_same_kind(one: &str, other: &str) -> bool {
    let kind = |text| std::mem::discriminant(&location(text));
    kind(one) == kind(other)
}

/// Makes a ledger as an old Farthing made it.
fn make_old(database: &str, version: usize, afters: &[f64]) {
    let row = |(seq, after): (usize, &f64)| {
        let it = entry(*after);
        let time = |time: Picoseconds| time.get();
        format!(
            "INSERT INTO attempts (ended_us, run, seq, started_us, request_id, model, input_tokens, \
             cached_tokens, output_tokens, device_ps, input_ps, cached_ps, output_ps, cost_usd, \
             queue_seconds, ttft_seconds, itl_p50_seconds, itl_p95_seconds, outcome, status) \
             VALUES ({}, 1, {seq}, {}, '{}', '{}', {}, {}, {}, {}, {}, {}, {}, '{}', 0.001, 0.25, \
             0.05, 0.06, 'stop', 200);",
            it.ended_us,
            it.started_us,
            it.request_id,
            it.model,
            it.input_tokens,
            it.cached_tokens,
            it.output_tokens,
            time(it.device_time),
            time(it.input_time),
            time(it.cached_time),
            time(it.output_time),
            it.cost_usd.unwrap(),
        )
    };
    let rows: String = afters.iter().enumerate().map(row).collect();
    let run = format!(
        "INSERT INTO runs (started_us, heartbeat_us, model, version, price_per_hour_usd) \
         VALUES ({0}, {0}, 'base', 'test', '0.10');",
        SIX * MICROS
    );
    match location(database) {
        Location::Sqlite(path) => {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let connection = rusqlite::Connection::open(path).unwrap();
            for schema in &SQLITE[..version] {
                connection.execute_batch(schema).unwrap();
            }
            let of_farthing = 0x4652_5448;
            connection
                .pragma_update(None, "application_id", of_farthing)
                .unwrap();
            connection.execute_batch(&(run + &rows)).unwrap();
        }
        Location::Postgres(url) => {
            let mut client = postgres::Client::connect(&url, postgres::NoTls).unwrap();
            client
                .batch_execute(
                    "CREATE SCHEMA farthing; SET search_path TO farthing; \
                     CREATE TABLE schema_version (version BIGINT NOT NULL); \
                     INSERT INTO schema_version VALUES (0)",
                )
                .unwrap();
            for schema in &POSTGRES[..version] {
                client.batch_execute(schema).unwrap();
            }
            client.batch_execute(&(run + &rows)).unwrap();
        }
    }
    set_version(database, version as i64);
}

const SQLITE: [&str; 3] = [
    include_str!("../../src/schema/1.sqlite.sql"),
    include_str!("../../src/schema/2.sqlite.sql"),
    include_str!("../../src/schema/3.sqlite.sql"),
];
const POSTGRES: [&str; 3] = [
    include_str!("../../src/schema/1.postgres.sql"),
    include_str!("../../src/schema/2.postgres.sql"),
    include_str!("../../src/schema/3.postgres.sql"),
];

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
