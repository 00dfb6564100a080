//! One row per attempt: none is lost or duplicated, and each is unchanged.

use std::time::Duration;

use farthing_ledger::{
    AssignedArm, ChargeBasis, ExportFormat, Ledger, LedgerError, Location, Outcome, Role, Routing,
    VendorCharge, Window,
};

use crate::databases::{each_database, location};
use crate::samples::{Clock, close, entry, open, reader, record};

fn csv(database: &str) -> String {
    let mut out = Vec::new();
    reader(database)
        .export(Window::ALL, ExportFormat::Csv, &mut out)
        .unwrap();
    String::from_utf8(out).unwrap()
}

fn count(database: &str) -> usize {
    csv(database).lines().count() - 1
}

#[test]
fn what_is_recorded_is_there_after_closing() {
    each_database(|database| {
        let ledger = open(database, &Clock::default());
        for number in 0..1_500 {
            record(&ledger, entry(f64::from(number)));
        }
        close(&ledger);
        assert_eq!(count(database), 1_500);
        assert_eq!(ledger.status().written, 1_500);
        assert_eq!(ledger.status().places_taken, 0);
        // Closing again is no error, and changes nothing.
        close(&ledger);
    });
}

#[test]
fn rows_are_written_without_closing() {
    each_database(|database| {
        let ledger = open(database, &Clock::default());
        record(&ledger, entry(1.0));
        while ledger.status().written < 1 {
            std::thread::yield_now();
        }
        assert_eq!(count(database), 1);
        close(&ledger);
    });
}

#[test]
fn two_processes_write_to_one_ledger() {
    each_database(|database| {
        let ledgers = [(); 3].map(|()| open(database, &Clock::default()));
        let recorders = ledgers.iter().map(|ledger| {
            let ledger = ledger.clone();
            std::thread::spawn(move || {
                (0..400).for_each(|number| record(&ledger, entry(f64::from(number))));
            })
        });
        for recorder in recorders.collect::<Vec<_>>() {
            recorder.join().unwrap();
        }
        ledgers.iter().for_each(close);
        assert_eq!(count(database), 1_200);
    });
}

#[test]
fn every_field_comes_back() {
    each_database(|database| {
        let ledger = open(database, &Clock::default());
        let mut full = entry(2.5);
        full.api_key = Some("team".to_owned());
        full.user = Some("ann, \"the\"\nfirst\0".to_owned());
        full.model = "legal".to_owned();
        full.adapter = Some("legal".to_owned());
        full.adapter_generation = Some("7".to_owned());
        full.outcome = Outcome::Length;
        full.prompt = Some("hi".to_owned());
        full.routing = Some(Routing {
            route: "chat".to_owned(),
            role: Role::Fallback,
            attempt: 2,
            arm: "gpt".to_owned(),
            assigned: Some(AssignedArm {
                experiment: "exp-1".to_owned(),
                arm: "ours@ab12".to_owned(),
                unit: "ann".to_owned(),
            }),
        });
        full.vendor = Some(VendorCharge {
            vendor: "openai".to_owned(),
            model: "gpt-5-mini".to_owned(),
            usage_json: Some("{}".to_owned()),
            billed_usd: Some("0.000000000000000001".parse().unwrap()),
            basis: ChargeBasis::Estimated,
        });
        record(&ledger, full);
        let mut refused = entry(3.0);
        refused.outcome = Outcome::Refused;
        refused.status = 429;
        refused.cost_usd = None;
        refused.ttft_seconds = None;
        record(&ledger, refused);
        close(&ledger);

        let text = csv(database);
        let mut lines = text.splitn(2, '\n');
        assert_eq!(
            lines.next().unwrap(),
            "run,request_id,started_at,ended_at,tenant,api_key,user,model,base_model,adapter,\
             adapter_generation,input_tokens,cached_tokens,output_tokens,device_seconds,\
             input_seconds,cached_seconds,output_seconds,cost_usd,price_per_hour_usd,\
             queue_seconds,ttft_seconds,itl_p50_seconds,itl_p95_seconds,outcome,status,prompt,route,\
             role,attempt,arm,experiment,assigned_arm,unit,booked_to,vendor,vendor_model,\
             vendor_usage,billed_usd,billed_basis"
        );
        // The export escapes the line break after a quote. PostgreSQL cannot store NUL.
        let user = match location(database) {
            Location::Sqlite(_) => "\"ann, \"\"the\"\"'\nfirst\0\"",
            Location::Postgres(_) => "\"ann, \"\"the\"\"'\nfirst\u{fffd}\"",
        };
        assert_eq!(
            lines.next().unwrap(),
            format!(
                "1,chatcmpl-1,2026-11-24T06:00:02.000000Z,2026-11-24T06:00:02.500000Z,team,team,\
                 {user},legal,base,legal,7,10,4,3,0.36,0.24,0.02,0.1,0.00001,0.10,0.001,0.25,0.05,\
                 0.06,length,200,hi,chat,fallback,2,gpt,exp-1,ours@ab12,ann,,openai,gpt-5-mini,\
                 {{}},0.000000000000000001,estimated\n\
                 1,chatcmpl-1,2026-11-24T06:00:02.500000Z,2026-11-24T06:00:03.000000Z,,,,base,base,\
                 ,,10,4,3,0.36,0.24,0.02,0.1,,0.10,0.001,,0.05,0.06,refused,429,,,,1,,,,,,,,,,\n"
            )
        );
    });
}

#[test]
fn closing_waits_for_those_who_have_a_place() {
    each_database(|database| {
        let ledger = open(database, &Clock::default());
        let (late, unused) = (ledger.place().unwrap(), ledger.place().unwrap());
        let closing = {
            let ledger = ledger.clone();
            std::thread::spawn(move || close(&ledger))
        };
        late.record(entry(0.0));
        drop(unused);
        closing.join().unwrap();
        assert_eq!(count(database), 1);
    });
}

#[test]
fn a_place_that_outlives_the_ledger_is_freed() {
    each_database(|database| {
        let ledger = open(database, &Clock::default());
        let place = ledger.place().unwrap();
        ledger.close(Duration::ZERO).unwrap();
        place.record(entry(0.0));
        assert_eq!(ledger.status().places_taken, 0);
        assert_eq!(count(database), 0);
    });
}

#[test]
fn a_ledger_that_cannot_be_opened_says_why() {
    let refusal = |text: &str| match Ledger::check(&location(text)) {
        Err(LedgerError::Open { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    assert!(!refusal("/proc/no/such/ledger").is_empty());
    // No server listens on port 1.
    let reason = refusal("postgres://nobody@127.0.0.1:1/ledger");
    assert!(reason.contains("refused"), "{reason}");
    let secret = "postgres://me:secret@db/ledger"
        .parse::<Location>()
        .unwrap();
    assert_eq!(
        format!("{secret} {secret:?}"),
        "postgres://db/ledger postgres://db/ledger"
    );
    assert!("mysql://db/ledger".parse::<Location>().is_err());
}
