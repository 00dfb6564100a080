//! A process that is killed loses the waiting rows, and nothing else.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use farthing_ledger::{
    DeviceSeconds, ExportFormat, Filter, GroupBy, Item, Ledger, Picoseconds, Window,
};

use crate::databases::each_database;
use crate::samples::{Clock, entry, open, reader, record};

/// Names the ledger that the killed process writes.
const VICTIM: &str = "FARTHING_TEST_VICTIM";
const ROWS: u64 = 700;

#[test]
fn what_was_flushed_survives_a_kill() {
    each_database(|database| {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["kill::the_victim", "--exact", "--nocapture"])
            .env(VICTIM, database)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(victim.stdout.take().unwrap());
        let said = output.lines().map_while(Result::ok);
        assert!(said.into_iter().any(|line| line.contains("flushed")));
        victim.kill().unwrap();
        victim.wait().unwrap();

        let mut out = Vec::new();
        let rows = reader(database)
            .export(Window::ALL, ExportFormat::Csv, &mut out)
            .unwrap();
        // The rows that it reported as flushed, and those of the ten after them that were written.
        assert!((ROWS..=ROWS + 10).contains(&rows), "{rows}");

        let invoice = reader(database)
            .invoice(Window::ALL, GroupBy::default(), &Filter::default())
            .unwrap();
        assert_eq!(invoice.residual_time(), Picoseconds::default());
        let served = invoice.lines.iter().find(|line| line.item == Item::Served);
        assert_eq!(served.unwrap().usage.requests, rows);
        assert_eq!(invoice.total.time, Picoseconds::from_seconds(1000.0));
        // The part of the steps' time without rows is a line of the invoice. The victim's clock
        // says that it fell silent years ago or from now, so it may also count as still in flight.
        let unaccounted = Picoseconds::from_seconds(900.0 - rows as f64 * 0.36);
        let line = invoice.lines.iter().find(|line| {
            matches!(line.item, Item::Lost | Item::InFlight)
                && line.usage.device.time == unaccounted
        });
        assert!(line.is_some(), "{:?}", invoice.lines);

        // The next process continues in the same ledger.
        let ledger = open(database, &Clock::default());
        record(&ledger, entry(0.0));
        crate::samples::close(&ledger);
    });
}

/// Not a test by itself: the process that the test above kills.
#[test]
fn the_victim() {
    let Ok(database) = std::env::var(VICTIM) else {
        return;
    };
    let clock = Clock::default();
    let ledger: Ledger = open(&database, &clock);
    clock.set(DeviceSeconds {
        window: 1000.0,
        steps: 900.0,
        idle: 100.0,
        ..DeviceSeconds::default()
    });
    for number in 0..ROWS {
        record(&ledger, entry(number as f64));
    }
    while ledger.status().written < ROWS {
        std::thread::yield_now();
    }
    (0..10).for_each(|_| record(&ledger, entry(0.0)));
    println!("flushed");
    loop {
        std::thread::park();
    }
}
