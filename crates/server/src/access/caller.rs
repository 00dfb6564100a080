//! The sender of a request.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use farthing_economics::HourlyPrice;
use farthing_engine::DeviceBudget;
use farthing_keys::{KeyInUse, RateLimited, RateState};
use rust_decimal::Decimal;

use super::spending_caps::device_seconds;
use crate::http::error::ApiError;

/// Who sent a request, and what their key still allows. Cheap to clone.
#[derive(Clone, Default)]
pub struct Caller {
    /// `None` where the server has no keys: anybody, without limits.
    key: Option<Arc<KeyInUse>>,
    /// Present if the key has a cap.
    budget: Option<Arc<DeviceBudget>>,
}

impl Caller {
    pub(super) fn of(key: Arc<KeyInUse>, budget: Option<Arc<DeviceBudget>>) -> Self {
        Self {
            key: Some(key),
            budget,
        }
    }

    /// The name of the key.
    pub fn key_name(&self) -> Option<&str> {
        self.key.as_ref().map(|it| &*it.key.name)
    }

    /// Who pays.
    pub fn tenant(&self) -> Option<&str> {
        self.key.as_ref().map(|it| &*it.key.terms.tenant)
    }

    /// Limits the device time of the key's requests together.
    pub(crate) fn budget(&self) -> Option<&Arc<DeviceBudget>> {
        self.budget.as_ref()
    }

    /// Whether the key may use a base model or an adapter.
    pub(crate) fn may_use(&self, name: &str, is_base: bool) -> bool {
        self.key.as_ref().is_none_or(|it| {
            let terms = &it.key.terms;
            let names = if is_base {
                &terms.models
            } else {
                &terms.adapters
            };
            names.allows(name)
        })
    }

    /// Counts a request.
    ///
    /// # Errors
    /// The key has sent too many, or has spent what it may spend today.
    pub(crate) fn take_request(&self) -> Result<(), ApiError> {
        if let Some(it) = &self.key {
            it.rates.take_request()?;
        }
        if self.budget.as_ref().is_some_and(|it| it.is_used_up()) {
            return Err(ApiError::OverBudget);
        }
        Ok(())
    }

    /// Counts the tokens of a request's prompts.
    ///
    /// # Errors
    /// The key has too few left.
    pub fn take_prompt(&self, tokens: usize) -> Result<(), RateLimited> {
        match &self.key {
            Some(it) => it.rates.take_prompt(tokens),
            None => Ok(()),
        }
    }

    /// Counts generated tokens.
    pub(crate) fn count_generated(&self, tokens: usize) {
        if let Some(it) = &self.key {
            it.rates.count_generated(tokens);
        }
    }

    /// Takes dollars from the key's cap, as the device time that costs as much at `price`.
    pub(crate) fn charge_usd(&self, usd: Decimal, price: Option<HourlyPrice>) {
        if let (Some(budget), Some(price)) = (&self.budget, price) {
            budget.add(-device_seconds(usd, price));
        }
    }

    /// Adds OpenAI's `x-ratelimit-*` headers.
    pub(crate) fn write_rates(&self, headers: &mut HeaderMap) {
        let Some(it) = &self.key else {
            return;
        };
        let rates = [
            (it.rates.requests(), &REQUESTS),
            (it.rates.tokens(), &TOKENS),
        ];
        for (state, [limit, remaining, reset]) in rates {
            let Some(state) = state else {
                continue;
            };
            let RateState {
                limit: per_minute,
                remaining: left,
                reset_after,
            } = state;
            headers.insert(limit, per_minute.into());
            headers.insert(remaining, left.into());
            if let Ok(value) = HeaderValue::try_from(duration(reset_after)) {
                headers.insert(reset, value);
            }
        }
    }
}

static REQUESTS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];
static TOKENS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];

/// In OpenAI's form, such as `6m0s`, `1.5s` or `12ms`.
fn duration(time: Duration) -> String {
    let millis = time.as_millis();
    let (minutes, millis) = (millis / 60_000, millis % 60_000);
    match (minutes, millis) {
        (0, 0..1000) => format!("{millis}ms"),
        (0, _) => format!("{}s", millis as f64 / 1000.0),
        _ => format!("{minutes}m{}s", millis as f64 / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::duration;

    #[test]
    fn durations_have_openais_form() {
        let shown = [0, 12, 999, 1000, 1500, 60_000, 360_000, 61_500].map(|millis| {
            let time = Duration::from_millis(millis);
            duration(time)
        });
        let expected = [
            "0ms", "12ms", "999ms", "1s", "1.5s", "1m0s", "6m0s", "1m1.5s",
        ];
        assert_eq!(shown, expected);
    }
}
