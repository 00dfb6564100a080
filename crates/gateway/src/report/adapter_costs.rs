//! What each adapter cost.

use rust_decimal::Decimal;
use serde::Serialize;

use super::arm_rows::ArmRows;
use super::time::Load;

/// What one adapter of our own engine cost in an arm.
#[derive(Clone, Debug, Serialize)]
pub(super) struct AdapterCosts {
    /// `None` for the base model.
    pub(super) adapter: Option<String>,
    pub(super) attempts: u64,
    /// Tokens of prompts and answers.
    pub(super) tokens: u64,
    #[serde(serialize_with = "farthing_economics::exact")]
    pub(super) device_seconds: Decimal,
    #[serde(serialize_with = "farthing_economics::exact_or_null")]
    pub(super) busy_usd: Option<Decimal>,
    #[serde(serialize_with = "farthing_economics::exact_or_null")]
    pub(super) loaded_usd: Option<Decimal>,
}

pub(super) fn by_adapter(arm: &ArmRows, load: &Load) -> Vec<AdapterCosts> {
    let adapters = arm.totals.adapters.iter();
    adapters
        .map(|(name, it)| AdapterCosts {
            adapter: (!name.is_empty()).then(|| name.clone()),
            attempts: it.attempts,
            tokens: it.tokens,
            device_seconds: it.own.time().seconds(),
            busy_usd: it.own.busy_usd(),
            loaded_usd: it.own.busy_usd().and_then(|busy| load.loaded(busy)),
        })
        .collect()
}
