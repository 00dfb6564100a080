//! Keys from the file to the caller.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use farthing_keys::{AllowList, KeyFile, KeyFileError, KeyRing, RateLimited, RefusedKey, Terms};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

fn terms(tenant: &str) -> Terms {
    Terms {
        tenant: tenant.to_owned(),
        ..Terms::default()
    }
}

fn now() -> Timestamp {
    "2026-11-28T12:00:00Z".parse().unwrap()
}

#[test]
fn a_key_is_found_by_its_text_until_it_is_revoked() {
    let directory = tempfile::tempdir().unwrap();
    let file = KeyFile::new(directory.path().join("new/keys.toml"));
    let secret = file.add("prod", terms("acme")).unwrap();
    let ring = KeyRing::new(file.read().unwrap());
    let found = ring.verify(secret.text(), now()).unwrap();
    assert_eq!(
        (&*found.key.name, &*found.key.terms.tenant),
        ("prod", "acme")
    );
    // A wrong last digit, another id, no key at all.
    let mut wrong = secret.text().to_owned();
    let last = if wrong.pop() == Some('0') { '1' } else { '0' };
    wrong.push(last);
    let other_id = secret.text().replace(secret.id(), "000000000000");
    for text in [
        &*wrong,
        &*other_id,
        "",
        "sk-fth-",
        "sk-fth--",
        "sk-abc",
        secret.id(),
    ] {
        assert_eq!(
            ring.verify(text, now()).err(),
            Some(RefusedKey::Unknown),
            "{text}"
        );
    }
    assert_eq!(file.revoke("prod").unwrap().id, secret.id());
    ring.replace(file.read().unwrap());
    assert_eq!(
        ring.verify(secret.text(), now()).err(),
        Some(RefusedKey::Revoked)
    );
    // Its name is free again, and it cannot be revoked twice.
    assert!(matches!(
        file.revoke("prod"),
        Err(KeyFileError::NoSuchKey(_))
    ));
    let second = file.add("prod", terms("acme")).unwrap();
    ring.replace(file.read().unwrap());
    assert!(ring.verify(second.text(), now()).is_ok());
}

#[test]
fn the_file_holds_a_hash_and_is_its_owners_only() {
    let directory = tempfile::tempdir().unwrap();
    let file = KeyFile::new(directory.path().join("keys.toml"));
    let secret = file.add("prod", terms("acme")).unwrap();
    let text = fs::read_to_string(file.path()).unwrap();
    assert!(!text.contains(secret.text()));
    let digest = Sha256::digest(secret.text());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(text.contains(&digest), "{text}");
    // 256 bits after the id.
    let random = secret.text().rsplit('-').next().unwrap();
    assert_eq!(random.len(), 64);
    assert!(!text.contains(random));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(file.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn terms_survive_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = KeyFile::new(directory.path().join("keys.toml"));
    let terms = Terms {
        tenant: "Bäckerei \"Nord\"".to_owned(),
        models: AllowList::of(["base".to_owned()]),
        adapters: AllowList::of(["acme/*".to_owned(), "legal".to_owned()]),
        requests_per_minute: NonZeroU32::new(60),
        tokens_per_minute: NonZeroU32::new(10_000),
        usd_per_day: Some("0.10".parse().unwrap()),
        expires: Some("2027-01-01T00:00:00Z".parse().unwrap()),
    };
    file.add("prod", terms.clone()).unwrap();
    assert_eq!(file.read().unwrap()[0].terms, terms);
    let adapters = &terms.adapters;
    let allowed = ["acme/a", "acme/", "legal"];
    assert!(allowed.iter().all(|name| adapters.allows(name)));
    let refused = ["acme", "legal2", "Legal", "", "*"];
    assert!(!refused.iter().any(|name| adapters.allows(name)));
    assert!(!AllowList::of([]).allows("base") && AllowList::all().allows("base"));
}

#[test]
fn a_key_is_refused_from_its_last_moment_on() {
    let directory = tempfile::tempdir().unwrap();
    let file = KeyFile::new(directory.path().join("keys.toml"));
    let expires: Timestamp = "2026-11-28T12:00:00Z".parse().unwrap();
    let terms = Terms {
        expires: Some(expires),
        ..terms("acme")
    };
    let secret = file.add("trial", terms).unwrap();
    let ring = KeyRing::new(file.read().unwrap());
    let before = expires - Duration::from_nanos(1);
    assert!(ring.verify(secret.text(), before).is_ok());
    let refused = ring.verify(secret.text(), expires).err();
    assert_eq!(refused, Some(RefusedKey::Expired(expires)));
}

#[test]
fn writers_take_turns() {
    let directory = tempfile::tempdir().unwrap();
    let file = Arc::new(KeyFile::new(directory.path().join("keys.toml")));
    let writers: Vec<_> = (0..16)
        .map(|writer| {
            let file = file.clone();
            thread::spawn(move || file.add(&format!("key {writer}"), terms("t")).unwrap())
        })
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
    assert_eq!(file.read().unwrap().len(), 16);
    let again = file.add("key 3", terms("t"));
    assert!(matches!(again, Err(KeyFileError::NameTaken(_))));
}

#[test]
fn a_wrong_file_is_refused_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.toml");
    let file = KeyFile::new(&path);
    assert!(matches!(file.read(), Err(KeyFileError::Unreadable { .. })));
    let directory_as_file = KeyFile::new(directory.path()).read();
    assert!(matches!(
        directory_as_file,
        Err(KeyFileError::NotAKeyFile { .. })
    ));
    let sha256 = "0".repeat(64);
    let key = |rest: &str| {
        format!(
            "[[keys]]\nid = \"a\"\nname = \"n\"\nsha256 = \"{sha256}\"\n\
             created = \"2026-11-28T00:00:00Z\"\n[keys.terms]\n{rest}\n"
        )
    };
    fs::write(&path, key("tenant = \"t\"")).unwrap();
    assert_eq!(file.read().unwrap().len(), 1);
    let cases = [
        ("keys = 1", "keys = 1"),
        (&*key("tenant = \"t\"\nusd_per_dya = \"1\""), "usd_per_dya"),
        (&*key("tenant = \"t\"\nusd_per_day = \"-1\""), "negative"),
        (
            &*key("tenant = \"t\"\nusd_per_day = \"NaN\""),
            "usd_per_day",
        ),
        (
            &*key("tenant = \"t\"\nusd_per_day = 0.1"),
            "must be a string",
        ),
        (
            &*key("tenant = \"t\"\nrequests_per_minute = 0"),
            "requests_per_minute",
        ),
        (&*key("tenant = \"t\"\nexpires = \"tomorrow\""), "expires"),
        (&*key("tenant = \"\""), "tenant"),
        (&*key("tenant = \"\\u001b[2J\""), "printable"),
        (&*key(""), "tenant"),
        (
            &*key("tenant = \"t\"").replace(&sha256, "xyz"),
            "64 hexadecimal",
        ),
        (&*key("tenant = \"t\"").repeat(2), "id of another"),
    ];
    for (text, named) in cases {
        fs::write(&path, text).unwrap();
        let error = file.read().unwrap_err().to_string();
        assert!(
            error.contains("keys.toml") && error.contains(named),
            "{error}"
        );
    }
}

#[test]
fn rates_are_counted_by_key_and_kept_when_the_file_is_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let file = KeyFile::new(directory.path().join("keys.toml"));
    let limited = Terms {
        requests_per_minute: NonZeroU32::new(3),
        tokens_per_minute: NonZeroU32::new(100),
        ..terms("acme")
    };
    let secret = file.add("a", limited.clone()).unwrap();
    let other = file.add("b", limited).unwrap();
    let ring = KeyRing::new(file.read().unwrap());
    let rates = |text: &str| ring.verify(text, now()).unwrap().rates.clone();
    for remaining in [2, 1, 0] {
        assert_eq!(rates(secret.text()).take_request(), Ok(()));
        assert_eq!(
            rates(secret.text()).requests().unwrap().remaining,
            remaining
        );
    }
    ring.replace(file.read().unwrap());
    let refused = rates(secret.text()).take_request().unwrap_err();
    assert!(matches!(refused, RateLimited::Requests { limit: 3, .. }));
    assert!(refused.retry_after().unwrap() <= Duration::from_secs(20));
    assert_eq!(rates(other.text()).take_request(), Ok(()));

    let too_large = rates(other.text()).take_prompt(101).unwrap_err();
    assert_eq!(too_large.retry_after(), None);
    assert_eq!(rates(other.text()).take_prompt(90), Ok(()));
    let refused = rates(other.text()).take_prompt(90).unwrap_err();
    assert!(matches!(
        refused,
        RateLimited::Tokens {
            limit: 100,
            requested: 90,
            ..
        }
    ));
    rates(other.text()).count_generated(1000);
    let refused = rates(other.text()).take_request().unwrap_err();
    assert!(refused.retry_after().unwrap() > Duration::from_secs(500));
    let tokens = rates(other.text()).tokens().unwrap();
    assert_eq!((tokens.limit, tokens.remaining), (100, 0));
}
