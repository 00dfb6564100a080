//! Sums of rows, by period and by group.

use std::collections::BTreeMap;

use farthing_ledger::{Filter, GroupBy, GroupKey, LedgerEntry, Outcome, Picoseconds, Window};

use crate::databases::each_database;
use crate::samples::{Clock, SIX, close, entry, open, open_at, reader, record};

fn of(user: Option<&str>, api_key: Option<&str>, adapter: Option<&str>, after: f64) -> LedgerEntry {
    LedgerEntry {
        user: user.map(str::to_owned),
        api_key: api_key.map(str::to_owned),
        model: adapter.unwrap_or("base").to_owned(),
        adapter: adapter.map(str::to_owned),
        ..entry(after)
    }
}

fn hour() -> Window {
    Window::new(SIX, SIX + 3600).unwrap()
}

#[test]
fn rows_are_summed_by_stretch() {
    each_database(|database| {
        let ledger = open(database, &Clock::default());
        for after in [0.0, 59.999_999, 60.0, 3599.0, 3600.0] {
            record(&ledger, entry(after));
        }
        close(&ledger);
        let usage = reader(database)
            .usage(hour(), 60, GroupBy::default(), &Filter::default())
            .unwrap();
        let counts: Vec<_> = usage
            .iter()
            .map(|(start, groups)| {
                let usage = &groups[&(GroupKey::default(), Outcome::Stop)];
                (start - SIX, usage.requests)
            })
            .collect();
        assert_eq!(counts, [(0, 2), (60, 1), (3540, 1)]);
    });
}

#[test]
fn sums_are_exact() {
    each_database(|database| {
        let ledger = open(database, &Clock::default());
        for number in 0..1_000 {
            let mut entry = entry(f64::from(number));
            // 0.1 s has no exact binary form; a thousand of them are 100 s nevertheless.
            entry.device_time = Picoseconds::from_seconds(0.1);
            entry.input_time = Picoseconds::new(1);
            record(&ledger, entry);
        }
        close(&ledger);
        let usage = reader(database)
            .usage(hour(), 3600, GroupBy::default(), &Filter::default())
            .unwrap();
        let usage = &usage[&SIX][&(GroupKey::default(), Outcome::Stop)];
        assert_eq!(usage.device.time, Picoseconds::from_seconds(100.0));
        assert_eq!(usage.input.time, Picoseconds::new(1_000));
        assert_eq!(
            (
                usage.requests,
                usage.input_tokens,
                usage.cached_tokens,
                usage.output_tokens
            ),
            (1_000, 10_000, 4_000, 3_000)
        );
        // 100 s of 3600 at 0.10.
        assert_eq!(
            usage.device.usd.unwrap().to_string(),
            "0.0027777777777777777777777778"
        );
    });
}

/// More picoseconds than 64 bits hold.
#[test]
fn a_sum_may_be_years() {
    each_database(|database| {
        let ledger = open(database, &Clock::default());
        for number in 0..20 {
            let mut entry = entry(f64::from(number));
            entry.device_time = Picoseconds::from_seconds(9e6);
            record(&ledger, entry);
        }
        close(&ledger);
        let usage = reader(database)
            .usage(hour(), 3600, GroupBy::default(), &Filter::default())
            .unwrap();
        let usage = &usage[&SIX][&(GroupKey::default(), Outcome::Stop)];
        assert_eq!(usage.device.time, Picoseconds::from_seconds(1.8e8));
        assert_eq!(usage.device.usd, Some(5_000.into()));
    });
}

#[test]
fn groups_are_told_apart_by_what_is_asked_for() {
    each_database(|database| {
        let ledger = open(database, &Clock::default());
        for row in [
            of(Some("ann"), None, None, 1.0),
            of(Some("ann"), Some("team"), None, 2.0),
            of(Some("bob"), Some("team"), Some("legal"), 3.0),
            of(None, None, Some("legal"), 4.0),
        ] {
            record(&ledger, row);
        }
        close(&ledger);
        let mut reader = reader(database);
        let mut groups = |group_by, filter: &Filter| {
            let usage = reader.usage(hour(), 3600, group_by, filter).unwrap();
            let groups = usage.values().flat_map(|groups| groups.iter());
            groups
                .map(|((key, _), usage)| {
                    let key = [
                        &key.model,
                        &key.adapter,
                        &key.tenant,
                        &key.user,
                        &key.api_key,
                    ];
                    let key = key.map(|part| part.as_deref().unwrap_or("-")).join(" ");
                    format!("{key}: {}", usage.requests)
                })
                .collect::<Vec<_>>()
        };
        let by_tenant = GroupBy {
            tenant: true,
            ..GroupBy::default()
        };
        let all = Filter::default();
        assert_eq!(
            groups(by_tenant, &all),
            ["- - - - -: 1", "- - ann - -: 1", "- - team - -: 2"]
        );
        let by_model_and_key = GroupBy {
            model: true,
            api_key: true,
            ..GroupBy::default()
        };
        assert_eq!(
            groups(by_model_and_key, &all),
            [
                "base - - - -: 1",
                "base - - - team: 1",
                "legal - - - -: 1",
                "legal - - - team: 1"
            ]
        );
        let by_user_and_adapter = GroupBy {
            user: true,
            adapter: true,
            ..GroupBy::default()
        };
        let some = Filter {
            users: vec!["bob".to_owned(), "ann".to_owned()],
            models: vec!["legal".to_owned()],
            ..Filter::default()
        };
        assert_eq!(groups(by_user_and_adapter, &some), ["- legal - bob -: 1"]);
        let quoted = Filter {
            tenants: vec!["' OR 1=1 --".to_owned()],
            ..Filter::default()
        };
        assert!(groups(by_tenant, &quoted).is_empty());
    });
}

/// Two keys of one tenant are one tenant, whoever their users are, also in the sums of days.
#[test]
fn a_tenant_is_what_its_keys_say() {
    each_database(|database| {
        let ledger = open(database, &Clock::default());
        for (tenant, key) in [("acme", "prod"), ("acme", "staging"), ("ann", "other")] {
            record(
                &ledger,
                LedgerEntry {
                    tenant: Some(tenant.to_owned()),
                    ..of(Some("ann"), Some(key), None, 0.0)
                },
            );
        }
        close(&ledger);
        let by_tenant = GroupBy {
            tenant: true,
            ..GroupBy::default()
        };
        for window in [hour(), Window::new(SIX - 21_600, SIX + 64_800).unwrap()] {
            let usage = reader(database)
                .usage(window, i64::MAX / 1_000_000, by_tenant, &Filter::default())
                .unwrap();
            let counts = usage
                .values()
                .flatten()
                .map(|((key, _), usage)| (key.tenant.clone().unwrap_or_default(), usage.requests));
            let expected = [("acme".to_owned(), 2), ("ann".to_owned(), 1)];
            assert_eq!(counts.collect::<Vec<_>>(), expected);
        }
    });
}

#[test]
fn each_run_counts_at_its_own_price() {
    each_database(|database| {
        for (price, after) in [(Some("0.10"), 1.0), (Some("10"), 2.0)] {
            let ledger = open_at(database, &Clock::default(), SIX, price);
            record(&ledger, entry(after));
            close(&ledger);
        }
        let sum = |database| {
            let usage = reader(database)
                .usage(hour(), 3600, GroupBy::default(), &Filter::default())
                .unwrap();
            usage[&SIX][&(GroupKey::default(), Outcome::Stop)]
                .device
                .usd
        };
        assert_eq!(sum(database), Some("0.00101".parse().unwrap()));
        let ledger = open_at(database, &Clock::default(), SIX, None);
        record(&ledger, entry(3.0));
        close(&ledger);
        // Some of it has no price, so the sum has none either.
        assert_eq!(sum(database), None);
    });
}

/// Whole days are read from daily sums, and the rest of a window from rows. Whatever the window,
/// each row counts once.
#[test]
fn sums_of_days_and_rows_tell_the_same() {
    const HOUR: i64 = 3600;
    const DAY: i64 = 24 * HOUR;
    let midnight = SIX - 6 * HOUR;
    each_database(|database| {
        let ledger = open(database, &Clock::default());
        // Three days and a half, from six o'clock, in steps of 13 minutes.
        let moments: Vec<i64> = (0..390).map(|number| SIX + number * 13 * 60).collect();
        for (number, moment) in moments.iter().enumerate() {
            let user = ["ann", "bob", ""][number % 3];
            let user = (!user.is_empty()).then_some(user);
            let key = (number % 4 == 0).then_some("key");
            let adapter = (number % 5 == 0).then_some("legal");
            record(&ledger, of(user, key, adapter, (moment - SIX) as f64));
        }
        close(&ledger);
        let tenant = |number: usize| match (number % 4, number % 3) {
            (0, _) => Some("key"),
            (_, 0) => Some("ann"),
            (_, 1) => Some("bob"),
            _ => None,
        };
        let by_tenant = GroupBy {
            tenant: true,
            ..GroupBy::default()
        };
        let only_legal = Filter {
            adapters: vec!["legal".to_owned()],
            ..Filter::default()
        };
        for (start, end, stretch) in [
            (midnight, midnight + 4 * DAY, DAY),
            (midnight, midnight + 4 * DAY, 2 * DAY),
            (midnight, midnight + 4 * DAY, HOUR),
            (SIX, SIX + 3 * DAY, DAY),
            (SIX, SIX + 3 * DAY, 3 * DAY),
            (midnight - HOUR, midnight + DAY + HOUR, 30 * DAY),
            (SIX, SIX + HOUR, HOUR),
        ] {
            for filter in [&Filter::default(), &only_legal] {
                let window = Window::new(start, end).unwrap();
                let found = reader(database).usage(window, stretch, by_tenant, filter);
                let found: Vec<_> = found
                    .unwrap()
                    .into_iter()
                    .flat_map(|(start, groups)| {
                        groups.into_iter().map(move |((key, _), usage)| {
                            (start, key.tenant, usage.requests, usage.device.time)
                        })
                    })
                    .collect();
                let mut expected: BTreeMap<(i64, Option<String>), u64> = BTreeMap::new();
                for (number, moment) in moments.iter().enumerate() {
                    let passes = filter.is_empty() || number % 5 == 0;
                    if passes && (start..end).contains(moment) {
                        let stretch = start + (moment - start) / stretch * stretch;
                        let tenant = tenant(number).map(str::to_owned);
                        *expected.entry((stretch, tenant)).or_default() += 1;
                    }
                }
                let expected: Vec<_> = expected
                    .into_iter()
                    .map(|((start, tenant), requests)| {
                        let picoseconds = i128::from(requests) * 360_000_000_000;
                        (start, tenant, requests, Picoseconds::new(picoseconds))
                    })
                    .collect();
                assert_eq!(found, expected, "{start} to {end} by {stretch}, {filter:?}");
            }
        }
    });
}
