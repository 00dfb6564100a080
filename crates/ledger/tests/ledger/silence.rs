//! Databases that give no answer, or have lost what was in them.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use farthing_ledger::{
    ExportFormat, Filter, GroupBy, Ledger, LedgerEntry, LedgerError, LedgerReader, Location, Window,
};

use crate::databases::{each_database, location};
use crate::samples::{Clock, close, entry, open, reader, record};

/// A server that is frozen still accepts connections: its kernel does.
#[test]
fn a_server_that_accepts_and_is_silent_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let location: Location = format!("postgres://ann@127.0.0.1:{port}/ledger?sslmode=disable")
        .parse()
        .unwrap();
    let soon = Instant::now() + Duration::from_secs(1);
    for refused in [
        Ledger::check(&location).err(),
        LedgerReader::open_until(&location, soon).err(),
    ] {
        assert!(
            matches!(refused, Some(LedgerError::NoAnswer { .. })),
            "{refused:?}"
        );
    }
}

/// Runs `test` with a second connection to each database that is a server.
fn each_server(test: impl Fn(&str, &mut postgres::Client)) {
    each_database(|database| {
        if let Location::Postgres(url) = location(database) {
            let client = postgres::Client::connect(&url, postgres::NoTls);
            test(database, &mut client.unwrap());
        }
    });
}

#[test]
fn rows_wait_for_a_table_that_is_locked() {
    each_server(|database, other| {
        let ledger = open(database, &Clock::default());
        let mut transaction = other.transaction().unwrap();
        transaction
            .batch_execute("LOCK TABLE farthing.attempts IN ACCESS EXCLUSIVE MODE")
            .unwrap();
        (0..3).for_each(|row| record(&ledger, entry(row.into())));
        while ledger.status().failed_flushes < 2 {
            std::thread::yield_now();
        }
        let error = ledger.status().error.unwrap();
        assert!(error.contains("lock timeout"), "{error}");
        let refused =
            LedgerReader::open_until(&location(database), Instant::now() + Duration::from_secs(1))
                .and_then(|mut reader| reader.export(Window::ALL, ExportFormat::Csv, Vec::new()));
        assert!(refused.is_err(), "{refused:?}");

        transaction.rollback().unwrap();
        close(&ledger);
        assert_eq!(ledger.status().written, 3);
        assert_eq!(requests(database), 3);
    });
}

#[test]
fn closing_does_not_wait_for_a_lock() {
    each_server(|database, other| {
        let ledger = open(database, &Clock::default());
        let mut transaction = other.transaction().unwrap();
        transaction
            .batch_execute("LOCK TABLE farthing.attempts IN ACCESS EXCLUSIVE MODE")
            .unwrap();
        (0..3).for_each(|row| record(&ledger, entry(row.into())));
        let closed = ledger.close(Duration::from_secs(1));
        assert!(
            matches!(closed, Err(LedgerError::Unwritten { rows: 3, .. })),
            "{closed:?}"
        );
        transaction.rollback().unwrap();
    });
}

/// Someone restores an old dump while the server runs.
#[test]
fn a_run_that_is_missing_after_a_restore_begins_anew() {
    each_server(|database, other| {
        let ledger = open(database, &Clock::default());
        record(&ledger, entry(0.0));
        while ledger.status().written < 1 {
            std::thread::yield_now();
        }
        other
            .batch_execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE datname = current_database() AND pid <> pg_backend_pid(); \
                 TRUNCATE farthing.runs, farthing.attempts, farthing.device_minutes, \
                 farthing.attempt_days",
            )
            .unwrap();
        record(&ledger, entry(1.0));
        close(&ledger);
        assert_eq!(ledger.status().written, 2);
        assert_eq!(requests(database), 1);
    });
}

/// Names of callers are as long as they like. One row must not block the others.
#[test]
fn long_names_are_recorded() {
    each_database(|database| {
        let ledger = open(database, &Clock::default());
        // Nothing in it repeats, so that nothing can be compressed.
        let long = |from: u32, chars: u32| -> String {
            let chars = (0..chars).map(|at| char::from_u32(0x1_0000 + from + at * 37));
            chars.map(Option::unwrap).collect()
        };
        for from in [0, 1] {
            record(
                &ledger,
                LedgerEntry {
                    user: Some(long(from, 512)),
                    model: long(from, 3000),
                    adapter: Some(long(from, 3000)),
                    api_key: Some(long(from, 100)),
                    tenant: Some(long(from, 100)),
                    ..entry(0.0)
                },
            );
        }
        close(&ledger);
        assert_eq!(ledger.status().written, 2);
        let by_user = GroupBy {
            user: true,
            ..GroupBy::default()
        };
        let whole = i64::MAX / 1_000_000;
        let usage = reader(database).usage(Window::ALL, whole, by_user, &Filter::default());
        let groups = usage.unwrap().into_values().next().unwrap();
        assert_eq!(groups.len(), 2);
    });
}

fn requests(database: &str) -> u64 {
    reader(database)
        .export(Window::ALL, ExportFormat::Csv, Vec::new())
        .unwrap()
}
