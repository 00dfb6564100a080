//! Exported files that other programs can read.

use farthing_ledger::{ExportFormat, LedgerEntry, Outcome, Window};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};

use crate::databases::each_database;
use crate::samples::{Clock, SIX, close, entry, open, reader, record};

fn parquet(database: &str, window: Window) -> SerializedFileReader<std::fs::File> {
    let mut file = tempfile::tempfile().unwrap();
    reader(database)
        .export(window, ExportFormat::Parquet, &mut file)
        .unwrap();
    SerializedFileReader::new(file).unwrap()
}

fn field(row: &Row, name: &str) -> Field {
    let mut columns = row.get_column_iter();
    columns
        .find(|(column, _)| *column == name)
        .unwrap()
        .1
        .clone()
}

#[test]
fn parquet_holds_the_same_rows() {
    each_database(|database| {
        let ledger = open(database, &Clock::default());
        record(
            &ledger,
            LedgerEntry {
                user: Some("ann".to_owned()),
                outcome: Outcome::Length,
                ..entry(1.5)
            },
        );
        record(
            &ledger,
            LedgerEntry {
                cost_usd: None,
                ttft_seconds: None,
                ..entry(2.0)
            },
        );
        close(&ledger);
        let file = parquet(database, Window::ALL);
        let rows: Vec<Row> = file
            .get_row_iter(None)
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(rows.len(), 2);
        let told = |row: usize, name: &str| field(&rows[row], name).to_string();
        assert_eq!(told(0, "user"), "\"ann\"");
        assert_eq!(told(1, "user"), "null");
        assert_eq!(told(0, "outcome"), "\"length\"");
        assert_eq!(told(0, "device_seconds"), "0.360000000000");
        assert_eq!(told(0, "cost_usd"), "0.00001000000000000000");
        assert_eq!(told(1, "cost_usd"), "null");
        assert_eq!(told(1, "price_per_hour_usd"), "0.10000000000000000000");
        assert_eq!(told(0, "ttft_seconds"), "0.25");
        assert_eq!(told(1, "ttft_seconds"), "null");
        let ended = field(&rows[0], "ended_at");
        assert_eq!(ended, Field::TimestampMicros(SIX * 1_000_000 + 1_500_000));
    });
}

#[test]
fn an_export_is_of_its_window() {
    each_database(|database| {
        let ledger = open(database, &Clock::default());
        for after in [0.0, 59.0, 60.0] {
            record(&ledger, entry(after));
        }
        close(&ledger);
        let minute = Window::new(SIX, SIX + 60).unwrap();
        assert_eq!(
            parquet(database, minute)
                .metadata()
                .file_metadata()
                .num_rows(),
            2
        );
        let before = Window::new(SIX - 60, SIX).unwrap();
        assert_eq!(
            parquet(database, before)
                .metadata()
                .file_metadata()
                .num_rows(),
            0
        );
    });
}
