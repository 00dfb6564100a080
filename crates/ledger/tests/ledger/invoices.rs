//! A window's invoice is its device time at its price.

use farthing_ledger::{
    DeviceSeconds, Filter, GroupBy, Invoice, Item, LedgerEntry, Outcome, Picoseconds, Window,
};

use crate::databases::each_database;
use crate::samples::{Clock, SIX, close, entry, open, open_at, reader, record};

/// An hour: 0.72 s of steps, the rest idle but for a start of 20 s and 1 s for an adapter.
fn hour() -> DeviceSeconds {
    DeviceSeconds {
        window: 3600.0,
        steps: 0.72,
        idle: 3578.0,
        host: 0.28,
        warm_up: 20.0,
        adapter_load: 1.0,
    }
}

fn draw_up(database: &str, seconds: i64, group_by: GroupBy) -> Invoice {
    let window = Window::new(SIX, SIX + seconds).unwrap();
    reader(database)
        .invoice(window, group_by, &Filter::default())
        .unwrap()
}

fn lines(invoice: &Invoice) -> Vec<(Item, String)> {
    let seconds = |time: Picoseconds| time.seconds().normalize().to_string();
    invoice
        .lines
        .iter()
        .map(|line| (line.item, seconds(line.usage.device.time)))
        .collect()
}

fn assert_adds_up(invoice: &Invoice) {
    assert_eq!(invoice.residual_time(), Picoseconds::default());
    let residual = invoice.residual_usd().unwrap().abs();
    assert!(
        residual < "0.000000000000000000000001".parse().unwrap(),
        "{residual}"
    );
}

#[test]
fn requests_and_buckets_add_up_to_the_window() {
    each_database(|database| {
        let clock = Clock::default();
        let ledger = open(database, &clock);
        record(&ledger, entry(30.0));
        record(
            &ledger,
            LedgerEntry {
                outcome: Outcome::Abort,
                ..entry(40.0)
            },
        );
        clock.set(hour());
        close(&ledger);

        let invoice = draw_up(database, 3600, GroupBy::default());
        assert_eq!(invoice.total.usd, Some("0.10".parse().unwrap()));
        let expected = [
            (Item::Served, "0.36"),
            (Item::Aborted, "0.36"),
            (Item::Idle, "3578"),
            (Item::Host, "0.28"),
            (Item::WarmUp, "20"),
            (Item::AdapterLoad, "1"),
        ];
        assert_eq!(
            lines(&invoice),
            expected.map(|(item, time)| (item, time.to_owned()))
        );
        assert_adds_up(&invoice);
    });
}

#[test]
fn groups_add_up_to_the_window_too() {
    each_database(|database| {
        let clock = Clock::default();
        let ledger = open(database, &clock);
        for user in ["ann", "bob"] {
            record(
                &ledger,
                LedgerEntry {
                    user: Some(user.to_owned()),
                    ..entry(30.0)
                },
            );
        }
        clock.set(hour());
        close(&ledger);
        let by_tenant = GroupBy {
            tenant: true,
            ..GroupBy::default()
        };
        let invoice = draw_up(database, 3600, by_tenant);
        let served = invoice
            .lines
            .iter()
            .filter(|line| line.item == Item::Served);
        let tenants: Vec<_> = served.map(|line| line.key.tenant.as_deref()).collect();
        assert_eq!(tenants, [Some("ann"), Some("bob")]);
        assert_adds_up(&invoice);

        // For one tenant only: no idle time, and the total is the tenant's.
        let window = Window::new(SIX, SIX + 3600).unwrap();
        let ann = Filter {
            tenants: vec!["ann".to_owned()],
            ..Filter::default()
        };
        let invoice = reader(database).invoice(window, by_tenant, &ann).unwrap();
        assert_eq!(lines(&invoice), [(Item::Served, "0.36".to_owned())]);
        assert_eq!(invoice.total.usd, Some("0.00001".parse().unwrap()));
        assert_adds_up(&invoice);
    });
}

/// A request that ran from one hour into the next is charged in the hour in which it ended. The
/// hours differ by the line `in_flight`, and together they are exact.
#[test]
fn what_runs_over_the_edge_is_in_flight() {
    each_database(|database| {
        let clock = Clock::default();
        let ledger = open(database, &clock);
        let mut long = entry(3700.0);
        long.device_time = Picoseconds::from_seconds(7200.0);
        record(&ledger, long);
        clock.set(DeviceSeconds {
            window: 7200.0,
            steps: 7200.0,
            ..DeviceSeconds::default()
        });
        close(&ledger);
        let first = draw_up(database, 3600, GroupBy::default());
        assert_eq!(lines(&first), [(Item::InFlight, "3600".to_owned())]);
        assert_adds_up(&first);
        let window = Window::new(SIX + 3600, SIX + 7200).unwrap();
        let second = reader(database)
            .invoice(window, GroupBy::default(), &Filter::default())
            .unwrap();
        assert_eq!(
            lines(&second),
            [
                (Item::Served, "7200".to_owned()),
                (Item::InFlight, "-3600".to_owned())
            ]
        );
        assert_adds_up(&second);
        let both = draw_up(database, 7200, GroupBy::default());
        assert_eq!(lines(&both), [(Item::Served, "7200".to_owned())]);
        assert_eq!(both.total.usd, Some("0.2".parse().unwrap()));
    });
}

/// Two processes with a gap between them: the gap is in no invoice, and costs nothing.
#[test]
fn the_time_between_processes_is_not_billed() {
    each_database(|database| {
        for start in [SIX, SIX + 1800] {
            let clock = Clock::default();
            let ledger = open_at(database, &clock, start, Some("3.60"));
            clock.set(DeviceSeconds {
                window: 900.0,
                idle: 900.0,
                ..DeviceSeconds::default()
            });
            close(&ledger);
        }
        let invoice = draw_up(database, 3600, GroupBy::default());
        assert_eq!(invoice.total.time, Picoseconds::from_seconds(1800.0));
        assert_eq!(invoice.total.usd, Some("1.8".parse().unwrap()));
        assert_adds_up(&invoice);
    });
}

#[test]
fn stretches_add_up_to_the_window() {
    each_database(|database| {
        let clock = Clock::default();
        let ledger = open(database, &clock);
        for minute in 0..60 {
            record(&ledger, entry(f64::from(minute) * 60.0 + 1.0));
        }
        clock.set(DeviceSeconds {
            window: 3600.0,
            steps: 60.0 * 0.36,
            idle: 3600.0 - 60.0 * 0.36,
            ..DeviceSeconds::default()
        });
        close(&ledger);
        let window = Window::new(SIX, SIX + 3600).unwrap();
        let invoices = reader(database)
            .invoices(window, 60, GroupBy::default(), &Filter::default())
            .unwrap();
        assert_eq!(invoices.len(), 60);
        let time: Picoseconds = invoices.values().map(|invoice| invoice.total.time).sum();
        assert_eq!(time, Picoseconds::from_seconds(3600.0));
        invoices.values().for_each(assert_adds_up);
    });
}

#[test]
fn an_empty_window_costs_nothing() {
    each_database(|database| {
        close(&open(database, &Clock::default()));
        let invoice = draw_up(database, 3600, GroupBy::default());
        assert_eq!(
            (invoice.lines.len(), invoice.total.usd),
            (0, Some(0.into()))
        );
    });
}

#[test]
fn a_window_is_made_of_whole_minutes() {
    assert!(Window::new(SIX, SIX + 60).is_ok());
    for (start, end) in [
        (SIX + 1, SIX + 60),
        (SIX, SIX + 59),
        (SIX, SIX),
        (-60, 0),
        (0, i64::MAX),
    ] {
        assert!(Window::new(start, end).is_err(), "{start} {end}");
    }
}
