//! Readings of Farthing's meter during a load.

use std::time::{Duration, Instant};

use farthing_api::ByToken;
use farthing_economics::read_exact_or_null;
use hyper::{Method, StatusCode};
use rust_decimal::Decimal;
use serde::Deserialize;

use crate::client::HttpClient;
use crate::target::Target;

/// One reading of `GET /v1/costs/now`. Values are cumulative since the server's start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct MeterReading {
    /// Seconds since the start of the load: the middle between request and response.
    pub at: f64,
    pub price_per_hour_usd: Option<Decimal>,
    /// Seconds of the server's window.
    pub window_seconds: f64,
    /// Seconds of steps.
    pub step_seconds: f64,
    /// The part of `step_seconds` that was split by tokens, because the step model explained too
    /// little; `None` if not reported.
    pub seconds_by_tokens: Option<f64>,
    pub tokens: ByToken<u64>,
    /// Device seconds of `tokens`.
    pub token_seconds: ByToken<f64>,
}

/// Frequent enough for slices of a short load, and negligible as load.
const READ_EVERY: Duration = Duration::from_millis(250);

impl MeterReading {
    /// `None` if the server is not Farthing or does not answer.
    pub(crate) async fn take(client: &HttpClient, target: &Target) -> Option<Self> {
        let url = target.url("/v1/costs/now");
        let (status, body) = client.whole(Method::GET, &url, None).await.ok()?;
        (status == StatusCode::OK).then(|| Self::read(&body))?
    }

    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct CostsNow {
            object: String,
            #[serde(default, deserialize_with = "read_exact_or_null")]
            price_per_hour_usd: Option<Decimal>,
            since_start: Span,
        }
        #[derive(Deserialize)]
        struct Span {
            window_seconds: f64,
            #[serde(default)]
            seconds_by_tokens: Option<f64>,
            seconds: Seconds,
            tokens: ByToken<u64>,
            token_seconds: ByToken<f64>,
        }
        #[derive(Deserialize)]
        struct Seconds {
            steps: f64,
        }
        let costs: CostsNow = serde_json::from_slice(body).ok()?;
        (costs.object == "costs.now").then_some(Self {
            at: 0.0,
            price_per_hour_usd: costs.price_per_hour_usd,
            window_seconds: costs.since_start.window_seconds,
            step_seconds: costs.since_start.seconds.steps,
            seconds_by_tokens: costs.since_start.seconds_by_tokens,
            tokens: costs.since_start.tokens,
            token_seconds: costs.since_start.token_seconds,
        })
    }

    /// Reads repeatedly into `readings` until dropped.
    pub(crate) async fn take_often(
        client: &HttpClient,
        target: &Target,
        began: Instant,
        readings: &mut Vec<Self>,
    ) {
        let mut ticks = tokio::time::interval(READ_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let asked_at = began.elapsed().as_secs_f64();
            if let Some(mut reading) = Self::take(client, target).await {
                reading.at = (asked_at + began.elapsed().as_secs_f64()) / 2.0;
                readings.push(reading);
            }
        }
    }
}
