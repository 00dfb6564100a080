//! Moments as texts.

use chrono::{DateTime, SecondsFormat, Utc};

use super::SpecError;

/// A moment in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(DateTime<Utc>);

impl Moment {
    pub(crate) fn parse(text: &str) -> Result<Self, SpecError> {
        let moment = DateTime::parse_from_rfc3339(text);
        moment
            .map(|moment| Self(moment.to_utc()))
            .map_err(|_| SpecError::Value {
                key: "started".to_owned(),
                must: "a timestamp with a time zone, for example 2026-11-28T00:00:00Z",
            })
    }

    /// Beyond the range of timestamps it is 1970.
    pub(crate) fn of_microseconds(us: i64) -> Self {
        Self(DateTime::from_timestamp_micros(us).unwrap_or_default())
    }

    pub(crate) fn microseconds(self) -> i64 {
        self.0.timestamp_micros()
    }

    /// As RFC 3339, in whole seconds.
    pub(crate) fn rfc3339(self) -> String {
        self.0.to_rfc3339_opts(SecondsFormat::Secs, true)
    }
}
