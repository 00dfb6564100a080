//! What all attempts at one vendor share.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use reqwest::Client;

use crate::Dialect;
use crate::breaker::Breaker;
use crate::endpoint::Endpoint;
use crate::figures::AttemptCounts;
use crate::prices::VendorPrices;
use crate::spend::DailySpend;
use crate::vendor_text::TextCleaner;

pub(crate) struct Shared {
    pub(crate) dialect: Dialect,
    pub(crate) endpoint: Endpoint,
    pub(crate) client: Client,
    pub(crate) clocks: Clocks,
    pub(crate) cleaner: TextCleaner,
    pub(crate) prices: VendorPrices,
    pub(crate) spend: Arc<DailySpend>,
    pub(crate) breaker: Arc<Breaker>,
    pub(crate) counts: AttemptCounts,
    pub(crate) max_concurrent: usize,
    pub(crate) in_flight: AtomicUsize,
}

/// The time limits of an attempt.
#[derive(Clone, Copy)]
pub(crate) struct Clocks {
    pub(crate) first_content: Duration,
    pub(crate) idle: Duration,
    pub(crate) total: Duration,
}

/// Today in UTC.
pub(crate) fn today() -> jiff::civil::Date {
    let now = jiff::Timestamp::now();
    now.to_zoned_datetime(jiff::tz::TimeZone::UTC).date()
}
