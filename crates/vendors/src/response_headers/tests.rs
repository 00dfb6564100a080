use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, HeaderValue};

use super::{retry_after, should_retry};

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &'static str)| {
        ((*name).parse().unwrap(), HeaderValue::from_static(value))
    };
    pairs.iter().map(pair).collect()
}

#[test]
fn times_are_seconds_milliseconds_or_a_date() {
    // 1994-11-06 08:49:37, the date of RFC 9110.
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    let read = |pairs: &[(&'static str, &'static str)]| {
        retry_after(&headers(pairs), now).map(|it| it.as_secs_f64())
    };
    assert_eq!(read(&[("retry-after", "120")]), Some(120.0));
    assert_eq!(read(&[("retry-after", "1.5")]), Some(1.5));
    assert_eq!(
        read(&[("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT")]),
        Some(30.0)
    );
    assert_eq!(
        read(&[("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT")]),
        Some(0.0)
    );
    assert_eq!(
        read(&[("retry-after", "9"), ("retry-after-ms", "1250")]),
        Some(1.25)
    );
    for nonsense in ["soon", "-1", "NaN", "1e300", ""] {
        assert_eq!(read(&[("retry-after", nonsense)]), None, "{nonsense}");
    }
    assert_eq!(read(&[]), None);
}

#[test]
fn a_word_on_retries_is_true_or_false() {
    for (value, read) in [
        ("true", Some(true)),
        ("false", Some(false)),
        ("maybe", None),
    ] {
        assert_eq!(should_retry(&headers(&[("x-should-retry", value)])), read);
    }
    assert_eq!(should_retry(&HeaderMap::new()), None);
}
