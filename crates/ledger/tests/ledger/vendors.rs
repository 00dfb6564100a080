//! The bills of vendors: exact, never zero where they are unknown, and booked to who pays.

use farthing_ledger::{
    AssignedArm, ChargeBasis, DeviceSeconds, ExportFormat, Filter, GroupBy, Invoice, Item,
    LedgerEntry, Picoseconds, Role, Routing, VendorBills, VendorCharge, Window,
};
use parquet::file::reader::{FileReader, SerializedFileReader};

use crate::databases::each_database;
use crate::samples::{Clock, SIX, close, entry, open, reader, record};

fn at_vendor(model: &str, billed: Option<&str>, basis: ChargeBasis, after: f64) -> LedgerEntry {
    LedgerEntry {
        device_time: Picoseconds::default(),
        input_time: Picoseconds::default(),
        cached_time: Picoseconds::default(),
        output_time: Picoseconds::default(),
        cost_usd: None,
        tenant: Some("acme".to_owned()),
        user: Some("ann".to_owned()),
        api_key: Some("key".to_owned()),
        vendor: Some(VendorCharge {
            vendor: "openai".to_owned(),
            model: model.to_owned(),
            usage_json: None,
            billed_usd: billed.map(|usd| usd.parse().unwrap()),
            basis,
        }),
        ..entry(after)
    }
}

fn routing(role: Role) -> Option<Routing> {
    Some(Routing {
        route: "chat".to_owned(),
        role,
        attempt: 1,
        arm: "gpt".to_owned(),
        assigned: Some(AssignedArm {
            experiment: "exp-1".to_owned(),
            arm: "gpt".to_owned(),
            unit: "ann".to_owned(),
        }),
    })
}

fn invoice(database: &str, window: (i64, i64), group_by: GroupBy) -> Invoice {
    let window = Window::new(window.0, window.1).unwrap();
    reader(database)
        .invoice(window, group_by, &Filter::default())
        .unwrap()
}

/// An hour, which is read from rows, and the day that contains it, which is read from sums of days.
const HOUR: (i64, i64) = (SIX, SIX + 3600);
const DAY: (i64, i64) = (SIX - 21_600, SIX + 64_800);

#[test]
fn sums_of_bills_are_exact_in_any_order() {
    // Each has more places than a float, and the small ones vanish beside the large one in a float.
    let bills: Vec<String> = (0..997_u64)
        .map(|number| match number % 100 {
            7 => format!("4000000.{:018}", number * 1_000_000_007),
            _ => format!("0.{:018}", number * 999_999_937),
        })
        .collect();
    let expected: i128 = (0..997_i128)
        .map(|number| match number % 100 {
            7 => 4_000_000_000_000_000_000_000_000 + number * 1_000_000_007,
            _ => number * 999_999_937,
        })
        .sum();
    let expected = rust_decimal::Decimal::from_i128_with_scale(expected, 18);
    for step in [1, 100, 613] {
        each_database(|database| {
            let ledger = open(database, &Clock::default());
            for number in 0..997 {
                let bill = &bills[number * step % 997];
                let after = (number % 3600) as f64;
                let row = at_vendor("gpt", Some(bill), ChargeBasis::Measured, after);
                record(&ledger, row);
            }
            close(&ledger);
            for window in [HOUR, DAY] {
                let total = invoice(database, window, GroupBy::default()).vendor_total();
                let expected = VendorBills {
                    usd: expected,
                    attempts: 997,
                    estimated: 0,
                    unknown: 0,
                };
                assert_eq!(total, expected);
            }
        });
    }
}

#[test]
fn unknown_is_not_zero() {
    each_database(|database| {
        let ledger = open(database, &Clock::default());
        for (billed, basis) in [
            (Some("0.5"), ChargeBasis::Measured),
            (Some("0.25"), ChargeBasis::Estimated),
            (None, ChargeBasis::Unknown),
            // No bill, or an impossible one, is unknown, whatever the basis says.
            (None, ChargeBasis::Measured),
            (Some("7"), ChargeBasis::Unknown),
            (Some("-1"), ChargeBasis::Measured),
        ] {
            record(&ledger, at_vendor("gpt", billed, basis, 1.0));
        }
        record(&ledger, entry(2.0));
        close(&ledger);
        for window in [HOUR, DAY] {
            let invoice = invoice(database, window, GroupBy::default());
            let expected = VendorBills {
                usd: "0.75".parse().unwrap(),
                attempts: 6,
                estimated: 1,
                unknown: 4,
            };
            assert_eq!(invoice.vendor_total(), expected);
            let served = &invoice.lines[0];
            assert_eq!((served.item, served.usage.requests), (Item::Served, 1));
        }
        let mut out = Vec::new();
        reader(database)
            .export(Window::ALL, ExportFormat::Csv, &mut out)
            .unwrap();
        let text = String::from_utf8(out).unwrap();
        let ends = |end: &str| text.lines().filter(|line| line.ends_with(end)).count();
        assert_eq!((ends(",0.5,measured"), ends(",0.25,estimated")), (1, 1));
        assert_eq!((ends(",,unknown"), ends(",,")), (4, 1));
    });
}

#[test]
fn an_invoice_has_a_line_for_each_vendor_and_model() {
    each_database(|database| {
        let clock = Clock::default();
        let ledger = open(database, &clock);
        for (model, usd) in [("mini", "0.1"), ("mini", "0.2"), ("large", "3")] {
            record(
                &ledger,
                at_vendor(model, Some(usd), ChargeBasis::Measured, 1.0),
            );
        }
        record(&ledger, entry(2.0));
        clock.set(DeviceSeconds {
            window: 3600.0,
            steps: 0.36,
            idle: 3599.64,
            ..DeviceSeconds::default()
        });
        close(&ledger);
        let by_tenant = GroupBy {
            tenant: true,
            ..GroupBy::default()
        };
        let invoice = invoice(database, HOUR, by_tenant);
        let lines = invoice.vendors.iter().map(|line| {
            let bills = line.usage.vendor;
            let tenant = line.key.tenant.as_deref();
            let (usd, tokens) = (bills.usd.to_string(), line.usage.input_tokens);
            (
                &*line.vendor,
                &*line.model,
                tenant,
                bills.attempts,
                usd,
                tokens,
            )
        });
        let expected = [
            ("openai", "large", Some("acme"), 1, "3".to_owned(), 10),
            ("openai", "mini", Some("acme"), 2, "0.3".to_owned(), 20),
        ];
        assert_eq!(lines.collect::<Vec<_>>(), expected);
        // An hour at 0.10, and 3.3 of the vendor.
        assert_eq!(invoice.total.usd, Some("0.1".parse().unwrap()));
        assert_eq!(invoice.total_usd(), Some("3.4".parse().unwrap()));
        assert_eq!(invoice.residual_time(), Picoseconds::default());
        // What vendors computed is not among our own tokens.
        let own: u64 = invoice
            .lines
            .iter()
            .map(|line| line.usage.input_tokens)
            .sum();
        assert_eq!(own, 10);
    });
}

#[test]
fn what_an_experiment_does_beside_is_booked_to_it() {
    each_database(|database| {
        let ledger = open(database, &Clock::default());
        for role in Role::ALL {
            let measured = ChargeBasis::Measured;
            record(
                &ledger,
                LedgerEntry {
                    routing: routing(role),
                    ..at_vendor("gpt", Some("1"), measured, 1.0)
                },
            );
            record(
                &ledger,
                LedgerEntry {
                    routing: routing(role),
                    vendor: None,
                    ..LedgerEntry {
                        device_time: Picoseconds::from_seconds(1.0),
                        ..at_vendor("gpt", None, measured, 1.0)
                    }
                },
            );
        }
        // A replay without an experiment is booked to its route.
        let mut replay = at_vendor("gpt", Some("1"), ChargeBasis::Measured, 1.0);
        replay.routing = routing(Role::Replay);
        replay.routing.as_mut().unwrap().assigned = None;
        record(&ledger, replay);
        close(&ledger);
        let by_all = GroupBy {
            tenant: true,
            user: true,
            api_key: true,
            ..GroupBy::default()
        };
        for window in [HOUR, DAY] {
            let invoice = invoice(database, window, by_all);
            let found: Vec<_> = invoice
                .vendors
                .iter()
                .map(|line| {
                    let key = [
                        &line.key.tenant,
                        &line.key.user,
                        &line.key.api_key,
                        &line.key.experiment,
                    ];
                    let key = key.map(|part| part.as_deref().unwrap_or("-")).join(" ");
                    (key, line.usage.vendor.usd.to_string())
                })
                .collect();
            let expected = [
                ("- - - chat", "1"),
                ("- - - exp-1", "3"),
                ("acme ann key -", "3"),
            ];
            assert_eq!(
                found,
                expected.map(|(key, usd)| (key.to_owned(), usd.to_owned()))
            );
            let own = invoice.lines.iter().filter(|line| line.item.is_requests());
            let own: Vec<_> = own
                .map(|line| {
                    let who = line
                        .key
                        .experiment
                        .as_deref()
                        .or(line.key.tenant.as_deref());
                    (line.item, who.unwrap().to_owned(), line.usage.device.time)
                })
                .collect();
            let seconds = Picoseconds::from_seconds(3.0);
            let expected = [
                (Item::Served, "acme".to_owned(), seconds),
                (Item::Experiment, "exp-1".to_owned(), seconds),
            ];
            assert_eq!(own, expected);
            let window = Window::new(window.0, window.1).unwrap();
            let acme = Filter {
                tenants: vec!["acme".to_owned()],
                ..Filter::default()
            };
            let of_acme = reader(database).invoice(window, by_all, &acme).unwrap();
            assert_eq!(of_acme.vendor_total().usd.to_string(), "3");
            assert_eq!(of_acme.total.time, seconds);
        }
    });
}

#[test]
fn parquet_has_the_bill_as_a_decimal() {
    each_database(|database| {
        let ledger = open(database, &Clock::default());
        let measured = ChargeBasis::Measured;
        record(
            &ledger,
            at_vendor("gpt", Some("1.000000000000000001"), measured, 1.0),
        );
        record(&ledger, entry(2.0));
        close(&ledger);
        let mut file = tempfile::tempfile().unwrap();
        reader(database)
            .export(Window::ALL, ExportFormat::Parquet, &mut file)
            .unwrap();
        let file = SerializedFileReader::new(file).unwrap();
        let bills = file.get_row_iter(None).unwrap().map(|row| {
            let row = row.unwrap();
            let mut columns = row.get_column_iter();
            let bill = columns.find(|(name, _)| *name == "billed_usd");
            bill.unwrap().1.to_string()
        });
        let expected = ["1.00000000000000000100", "null"];
        assert_eq!(bills.collect::<Vec<_>>(), expected);
    });
}
