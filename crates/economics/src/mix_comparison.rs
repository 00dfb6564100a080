//! A machine's measured tokens beside vendors' offers for the same mix.

use jiff::civil::Date;
use rust_decimal::Decimal;

use crate::offer::{OfferRates, PromptTerms};
use crate::{
    CostCurve, GpuPrice, HourlyPrice, MachineTime, Offer, Provenance, Rates, TextKind, TokenPrice,
    TokenizerFamily, Workload,
};

/// Measured time and tokens, and the price of the machine.
#[derive(Clone, Copy, Debug)]
pub struct MeasuredMix {
    /// Time and tokens.
    pub machine: MachineTime,
    /// The price of the machine, if known.
    pub price: Option<HourlyPrice>,
    /// Tokens per second that the machine carries within its service level, if known.
    pub slo_tokens_per_second: Option<f64>,
    /// The tokenizer that counted the tokens, if it is one of the measured ones.
    pub tokenizer: Option<TokenizerFamily>,
}

/// A mix of tokens, priced on the machine and at vendors.
#[derive(Clone, Debug)]
pub struct MixComparison {
    /// Prompt tokens, cached ones included, as a share of all tokens.
    pub input_share: Decimal,
    /// Cached tokens as a share of the prompt tokens.
    pub cached_share: Decimal,
    /// The machine's cost by its utilization; `None` if its price is unknown.
    pub curve: Option<CostCurve>,
    /// The machine's utilization now.
    pub utilization: Option<Decimal>,
    /// Vendors' offers.
    pub offers: Vec<OfferAtMix>,
}

/// An offer at the machine's mix of tokens. What is unknown is `None`.
#[derive(Clone, Debug)]
pub struct OfferAtMix {
    /// Vendor and model, or vendor and GPU.
    pub name: String,
    /// `frontier`, `hosted` or `endpoint`.
    pub kind: &'static str,
    /// List prices per million of the vendor's tokens.
    pub rates: Rates,
    /// US dollars per million own tokens.
    pub usd_per_million: Option<Decimal>,
    /// The price per hour of a GPU that serves the own model.
    pub per_hour: Option<HourlyPrice>,
    /// The utilization from which on the machine is cheaper.
    pub break_even: Option<BreakEven>,
    /// Where the price comes from.
    pub provenance: Provenance,
    /// Whether it was read more than 30 days ago.
    pub stale: bool,
}

/// The point at which the machine costs as much as an offer.
#[derive(Clone, Copy, Debug)]
pub struct BreakEven {
    /// Tokens per day.
    pub tokens_per_day: Decimal,
    /// Share of the machine's capacity; above 1 the machine never is cheaper.
    pub utilization: Decimal,
}

impl MixComparison {
    /// Compares the mix with each offer, as of `today`; `None` if the machine computed no tokens.
    pub fn new(measured: &MeasuredMix, offers: &[Offer<'_>], today: Date) -> Option<Self> {
        let machine = &measured.machine;
        let prompt_tokens = machine.input.tokens + machine.cached.tokens;
        let mix = Workload {
            tokens_per_day: None,
            input_share: share(prompt_tokens, machine.tokens())?,
            cached_share: share(machine.cached.tokens, prompt_tokens).unwrap_or_default(),
            batch_factor: Decimal::ONE,
        };
        let curve = measured.curve();
        let rate = decimal(machine.tokens() as f64 / machine.window_seconds);
        let offers = offers.iter().map(|offer| match offer {
            Offer::Tokens(price) => {
                OfferAtMix::by_token(price, &mix, measured.tokenizer, curve.as_ref(), today)
            }
            Offer::Endpoint(price) => OfferAtMix::by_hour(price, today),
        });
        Some(Self {
            input_share: mix.input_share,
            cached_share: mix.cached_share,
            curve,
            utilization: curve
                .zip(rate)
                .and_then(|(curve, rate)| curve.utilization(rate)),
            offers: offers.collect(),
        })
    }
}

impl MeasuredMix {
    /// At full utilization the machine carries its capacity within the service level, or, if that is
    /// unknown, what it does while it computes.
    fn curve(&self) -> Option<CostCurve> {
        let machine = &self.machine;
        let tokens_per_second = self
            .slo_tokens_per_second
            .unwrap_or(machine.tokens() as f64 / machine.busy_seconds);
        CostCurve::new(self.price?, decimal(tokens_per_second)?)
    }
}

impl OfferAtMix {
    fn by_token(
        price: &TokenPrice,
        mix: &Workload,
        tokenizer: Option<TokenizerFamily>,
        curve: Option<&CostCurve>,
        today: Date,
    ) -> Self {
        let terms = PromptTerms {
            // The lengths of prompts are not measured: the rates are those of short ones.
            prompt_tokens: Decimal::ZERO,
            has_cached_tokens: true,
            tokenizer,
            text: TextKind::English,
        };
        let offer = OfferRates::new(price, terms).ok();
        let usd_per_million = offer.and_then(|offer| {
            let theirs = mix.blended_usd_per_million(&offer.rates).ok()?;
            theirs.checked_mul(offer.ratio())
        });
        let break_even = curve.zip(usd_per_million).and_then(|(curve, usd)| {
            Some(BreakEven {
                tokens_per_day: curve.break_even_tokens_per_day(usd)?,
                utilization: curve.break_even_utilization(usd)?,
            })
        });
        Self {
            name: price.name(),
            kind: price.class.as_str(),
            rates: price.standard.for_prompt(0),
            usd_per_million,
            per_hour: None,
            break_even,
            provenance: price.provenance.clone(),
            stale: price.provenance.is_stale(today),
        }
    }

    /// How many tokens such an endpoint computes is unknown, so it has no price per token.
    fn by_hour(price: &GpuPrice, today: Date) -> Self {
        Self {
            name: format!("{}/{}", price.vendor, price.gpu),
            kind: "endpoint",
            rates: Rates::default(),
            usd_per_million: None,
            per_hour: Some(price.on_demand),
            break_even: None,
            provenance: price.provenance.clone(),
            stale: price.provenance.is_stale(today),
        }
    }
}

fn share(part: u64, whole: u64) -> Option<Decimal> {
    Decimal::from(part).checked_div(Decimal::from(whole))
}

/// A measured rate; `None` if it is infinite or not a number.
fn decimal(rate: f64) -> Option<Decimal> {
    Decimal::try_from(rate).ok()
}
