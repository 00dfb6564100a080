//! A vendor, ready to answer.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use farthing_economics::{PriceBook, Usage};
use jiff::civil::Date;
use rust_decimal::Decimal;

use crate::api_key::ApiKey;
use crate::attempt;
use crate::breaker::Breaker;
use crate::config_error::{ConfigProblem, VendorConfigError};
use crate::endpoint::Endpoint;
use crate::figures::{AttemptCounts, VendorFigures};
use crate::prices::VendorPrices;
use crate::shared::{Clocks, Shared, today};
use crate::spend::DailySpend;
use crate::transport;
use crate::vendor_text::TextCleaner;
use crate::{VendorAnswer, VendorCall, VendorConfig};

/// A vendor: its address, key, prices and limits, and what all attempts at it share.
pub struct Vendor {
    name: String,
    shared: Arc<Shared>,
}

/// No limit of time is longer.
const MAX_SECONDS: f64 = 86_400.0;

impl Vendor {
    /// Sets up a vendor. `secrets` reads environment variables.
    ///
    /// # Errors
    /// The configuration is invalid, or the key cannot be read.
    pub fn new(
        name: &str,
        config: VendorConfig,
        secrets: &dyn Fn(&str) -> Option<String>,
        books: &PriceBook,
    ) -> Result<Self, VendorConfigError> {
        let shared = shared(&config, secrets, books).map_err(|problem| VendorConfigError {
            vendor: name.to_owned(),
            problem,
        })?;
        Ok(Self {
            name: name.to_owned(),
            shared: Arc::new(shared),
        })
    }

    /// The name that the operator gave it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// One attempt. Nothing is sent before the stream is polled.
    pub fn chat(&self, call: VendorCall) -> VendorAnswer {
        attempt::start(self.shared.clone(), call)
    }

    /// What tokens cost at the list price; `None` if it is unknown.
    pub fn list_price_usd(&self, model: &str, tokens: &Usage) -> Option<Decimal> {
        let found = self.shared.prices.of(model, today())?;
        Some(found.card.cost_of(tokens, Decimal::ONE).ok()?.usd)
    }

    /// Adds US dollars that were spent on a day before this start, so that a restart doesn't lift
    /// the day's cap.
    pub fn add_spent(&self, usd: Decimal, day: Date) {
        self.shared.spend.add(usd, day);
    }

    /// Figures for metrics.
    pub fn figures(&self) -> VendorFigures {
        let shared = &self.shared;
        let (spent_today_usd, reserved_usd) = shared.spend.today(today());
        let counts = shared.counts.counts();
        VendorFigures {
            attempts: counts.attempts,
            unknown_bills: counts.unknown_bills,
            spent_today_usd,
            reserved_usd,
            usd_per_day: shared.spend.cap(),
            breaker: shared.breaker.state(Instant::now()),
            in_flight: shared.in_flight.load(Ordering::Relaxed),
        }
    }
}

impl fmt::Debug for Vendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vendor")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

fn shared(
    config: &VendorConfig,
    secrets: &dyn Fn(&str) -> Option<String>,
    books: &PriceBook,
) -> Result<Shared, ConfigProblem> {
    let timeouts = &config.timeouts;
    let connect = duration("timeouts.connect_seconds", timeouts.connect_seconds)?;
    let clocks = Clocks {
        first_content: duration(
            "timeouts.first_content_seconds",
            timeouts.first_content_seconds,
        )?,
        idle: duration("timeouts.idle_seconds", timeouts.idle_seconds)?,
        total: duration("timeouts.total_seconds", timeouts.total_seconds)?,
    };
    let expected = "a whole number above 0";
    if config.max_concurrent == Some(0) {
        return Err(ConfigProblem::Limit {
            name: "max_concurrent",
            expected,
        });
    }
    if config.max_output_tokens.values().any(|tokens| *tokens == 0) {
        return Err(ConfigProblem::Limit {
            name: "max_output_tokens",
            expected,
        });
    }
    let key = ApiKey::read(config, secrets)?;
    let endpoint = Endpoint::new(config, key.as_ref())?;
    Ok(Shared {
        dialect: config.dialect,
        client: transport::client(endpoint.is_https(), connect)?,
        endpoint,
        clocks,
        cleaner: TextCleaner::new(key.as_ref().map(ApiKey::text)),
        prices: VendorPrices::new(config, books, today())?,
        spend: Arc::new(DailySpend::new(config.usd_per_day)),
        breaker: Arc::new(Breaker::default()),
        counts: AttemptCounts::default(),
        max_concurrent: config.max_concurrent.unwrap_or(usize::MAX),
        in_flight: AtomicUsize::new(0),
    })
}

fn duration(name: &'static str, seconds: f64) -> Result<Duration, ConfigProblem> {
    let expected = "a number of seconds above 0 and up to 86400";
    let valid = (seconds > 0.0 && seconds <= MAX_SECONDS).then_some(seconds);
    let duration = valid.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    duration.ok_or(ConfigProblem::Limit { name, expected })
}
