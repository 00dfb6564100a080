use super::strftime;

/// Expected values are those of Python's `datetime.fromtimestamp(s, UTC).strftime(…)`.
#[test]
fn equals_pythons() {
    let format = "%A %a, %d %B %b %Y (%y) %j %H:%M:%S %I %p %-d %F %T %%";
    let told = |seconds| strftime(format, seconds).unwrap();
    assert_eq!(
        told(0),
        "Thursday Thu, 01 January Jan 1970 (70) 001 00:00:00 12 AM 1 1970-01-01 00:00:00 %"
    );
    assert_eq!(
        told(951_827_696),
        "Tuesday Tue, 29 February Feb 2000 (00) 060 12:34:56 12 PM 29 2000-02-29 12:34:56 %"
    );
    assert_eq!(
        told(4_102_444_799),
        "Thursday Thu, 31 December Dec 2099 (99) 365 23:59:59 11 PM 31 2099-12-31 23:59:59 %"
    );
}

#[test]
fn refuses_what_it_does_not_know() {
    assert!(strftime("%Q", 0).is_err());
    assert!(strftime("100%", 0).is_err());
}
