#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn times_are_read_as_people_write_them() {
    for (text, seconds) in [
        ("1795500000", 1_795_500_000),
        ("2026-11-24", 1_795_478_400),
        ("2026-11-24T06:00Z", 1_795_500_000),
        ("2026-11-24T06:00:00Z", 1_795_500_000),
        ("2026-11-24T07:00+01:00", 1_795_500_000),
    ] {
        assert_eq!(parse_time(text), Ok(seconds), "{text}");
    }
    for text in ["", "yesterday", "2026-11-24 06:00", "2026-13-01"] {
        assert!(parse_time(text).is_err(), "{text}");
    }
}

#[test]
fn an_export_that_fails_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rows.csv");
    let failed: anyhow::Result<()> = write_whole(&path, |_| bail!("no"));
    assert!(failed.is_err());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    write_whole(&path, |mut file| Ok(io::Write::write_all(&mut file, b"a")?)).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"a");
}
