//! No location makes the parser panic, and none shows its password.

use farthing_fuzz::{Campaign, mutate_text};
use farthing_ledger::Location;

#[test]
fn any_text_is_a_location_or_an_error() {
    let seeds = [
        "postgres://ann:pass@host.example:5432/ledger?sslmode=require&connect_timeout=3",
        "postgresql:///ledger?host=/run/postgresql&application_name=x",
        "postgres://ann@[::1]:5432,host2:5433/ledger?target_session_attrs=read-write",
        "/var/lib/farthing/ledger.sqlite3",
    ];
    let words = [
        "postgres://",
        "@",
        ":",
        "/",
        "?",
        "&",
        "=",
        "%2F",
        "%",
        "%ff",
        ",",
        "[",
        "]",
        "::",
        "host=",
        "options=-c",
        "keepalives_idle=",
        "99999999999999999999",
        "-1",
        "\0",
        "é",
        "password=",
        "'",
        "\\",
        " ",
    ];
    Campaign::new("ledger_location", 20_000).run(
        |random| {
            let seed = *random.pick(&seeds);
            mutate_text(random, seed, &words).into()
        },
        |input| {
            let text = String::from_utf8_lossy(input);
            if let Ok(location) = text.parse::<Location>() {
                let _ = format!("{location} {location:?}");
            }
        },
    );
}

#[test]
fn a_password_is_not_shown() {
    for text in [
        "postgres://ann:hunter2@host/ledger",
        "postgres://ann@host/ledger?password=hunter2",
        "postgres:///ledger?host=/run&password=hunter2",
    ] {
        let location: Location = text.parse().unwrap_or_else(|error| unreachable!("{error}"));
        assert!(!format!("{location} {location:?}").contains("hunter2"));
    }
}
