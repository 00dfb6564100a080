//! The current time, in the units that the API, the ledger and the price book use.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

pub(crate) const SECONDS_PER_DAY: i64 = 86_400;

/// Seconds since 1970, as in OpenAI's `created` fields.
pub(crate) fn unix_seconds() -> u64 {
    since_1970().as_secs()
}

/// Microseconds since 1970.
pub(crate) fn unix_microseconds() -> i64 {
    since_1970().as_micros() as i64
}

/// Today's date in UTC.
pub(crate) fn today() -> Date {
    Timestamp::now().to_zoned_datetime(TimeZone::UTC).date()
}

fn since_1970() -> Duration {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default()
}
