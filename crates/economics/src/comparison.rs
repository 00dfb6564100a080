//! The same work on own GPUs and at vendors, each counted by its own tokenizer.

use jiff::civil::Date;
use rust_decimal::Decimal;
use serde::Serialize;

use crate::decimal_text::{exact, exact_or_null};
use crate::offer::{OfferRates, PromptTerms};
use crate::workload::{DAYS_PER_MONTH, MILLION};
use crate::{
    FleetInputs, GpuPrice, HOURS_PER_MONTH, HybridSplit, MeasuredCost, Offer, OwnBill, Provenance,
    Rates, Saving, Tco, TcoError, TcoInputs, TextKind, TokenClass, TokenPrice, TokenizerFamily,
    Volume, Workload,
};

/// Identical requests, counted by the own tokenizer.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Work {
    /// Tokens per day, prompts and answers together.
    #[serde(serialize_with = "exact")]
    pub tokens_per_day: Decimal,
    /// Prompt tokens of a request, cached ones included.
    #[serde(serialize_with = "exact")]
    pub prompt_tokens: Decimal,
    /// Of these, tokens in the cache: on the own side and at the vendor.
    #[serde(serialize_with = "exact")]
    pub cached_tokens: Decimal,
    /// Tokens of an answer.
    #[serde(serialize_with = "exact")]
    pub output_tokens: Decimal,
    /// The tokenizer that counted them, if it is one of the measured ones.
    pub tokenizer: Option<TokenizerFamily>,
    /// The kind of text.
    pub text: TextKind,
    /// In a hybrid split, the share of own answers that is requested again at a vendor.
    #[serde(serialize_with = "exact")]
    pub escalated: Decimal,
}

/// The own cost beside the cost of each offer.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// As given.
    pub work: Work,
    /// Requests per month of 30 days.
    #[serde(serialize_with = "exact")]
    pub requests_per_month: Decimal,
    /// The own side.
    pub own: OwnSide,
    /// The offers.
    #[serde(rename = "rivals")]
    pub offers: Vec<OfferSide>,
}

/// The cost of the work on own GPUs.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct OwnSide {
    /// The cost of the whole fleet, idle hours and staff included.
    pub fleet: Option<SameCost>,
    /// The cost of the tokens at their measured price.
    pub measured: Option<SameCost>,
    /// GPUs of the fleet.
    pub gpus: Option<u64>,
    /// Traffic divided by the capacity inside the SLO.
    #[serde(serialize_with = "exact_or_null")]
    pub utilisation: Option<Decimal>,
}

/// One cost in three units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SameCost {
    /// US dollars.
    #[serde(serialize_with = "exact")]
    pub usd_per_request: Decimal,
    /// US dollars per million tokens, counted by the own tokenizer.
    #[serde(serialize_with = "exact")]
    pub usd_per_million: Decimal,
    /// US dollars.
    #[serde(serialize_with = "exact")]
    pub usd_per_month: Decimal,
}

/// The cost of the work at a vendor.
#[derive(Clone, Debug, Serialize)]
pub struct OfferSide {
    /// Vendor and model, or vendor and GPU.
    pub name: String,
    /// `frontier`, `hosted` or `endpoint`.
    pub kind: &'static str,
    /// Where the price comes from.
    pub provenance: Provenance,
    /// Whether it was read more than 30 days ago.
    pub stale: bool,
    /// The vendor's tokenizer, if it is public.
    pub tokenizer: Option<TokenizerFamily>,
    /// The vendor's tokens per own token; `None` if a tokenizer is unknown, and the ratio is taken
    /// to be 1.
    #[serde(serialize_with = "exact_or_null")]
    pub tokens_per_own_token: Option<Decimal>,
    /// The cost, per million own tokens.
    #[serde(flatten)]
    pub cost: SameCost,
    /// The saving of the own side.
    pub saving: Option<Saving>,
    /// The traffic from which on the own fleet is cheaper; `None` if it never is, or if the offer
    /// is paid by the hour too.
    pub break_even: Option<Volume>,
    /// The cheapest split between the two.
    pub hybrid: Option<HybridSplit>,
    /// What the figures assume.
    pub assumptions: Vec<String>,
}

impl Comparison {
    /// Computes the own cost and the cost of every offer.
    ///
    /// # Errors
    /// A figure is impossible, an offer has no known price for this work, or neither a fleet nor a
    /// measured cost is given.
    pub fn new(
        work: &Work,
        fleet: &FleetInputs,
        measured: Option<&MeasuredCost>,
        offers: &[Offer<'_>],
        today: Date,
    ) -> Result<Self, TcoError> {
        let requests = work.requests_per_month()?;
        let mut own = OwnSide {
            fleet: None,
            measured: None,
            gpus: None,
            utilisation: None,
        };
        if let Some(measured) = measured {
            check_measured(measured)?;
            let usd = work.usd_per_request(&measured.rates(), Decimal::ONE)?;
            own.measured = Some(work.same_cost(usd)?);
        }
        let bill = Tco::new(&work.tco_inputs(fleet, None))?.own;
        if let Some(bill) = &bill {
            let usd = bill.usd_per_month.checked_div(requests);
            own.fleet = Some(work.same_cost(usd.ok_or(TcoError::Overflow)?)?);
            own.gpus = Some(bill.gpus);
            own.utilisation = bill.utilisation;
        }
        if own.fleet.is_none() && own.measured.is_none() {
            return Err(TcoError::MissingGpus);
        }
        let offers = offers.iter().map(|offer| match offer {
            Offer::Tokens(price) => token_offer(work, fleet, &own, price, today),
            Offer::Endpoint(price) => endpoint_offer(work, &own, bill.as_ref(), price, today),
        });
        Ok(Self {
            work: *work,
            requests_per_month: requests,
            own,
            offers: offers.collect::<Result<_, _>>()?,
        })
    }
}

impl OwnSide {
    /// The cost to compare with an offer: the whole fleet's if it is known.
    pub fn cost(&self) -> Option<SameCost> {
        self.fleet.or(self.measured)
    }
}

impl Work {
    fn check(&self) -> Result<(), TcoError> {
        let highest = Decimal::from(1_000_000_000);
        for (what, value) in [
            ("prompt tokens of a request", self.prompt_tokens),
            ("output tokens of a request", self.output_tokens),
        ] {
            if !(Decimal::ZERO..=highest).contains(&value) {
                let range = "between 0 and 1000000000";
                return Err(TcoError::OutOfRange { what, range, value });
            }
        }
        if self.tokens_per_request() < Decimal::ONE {
            return Err(TcoError::OutOfRange {
                what: "prompt and answer of a request together",
                range: "at least 1 token",
                value: self.tokens_per_request(),
            });
        }
        if !(Decimal::ZERO..=self.prompt_tokens).contains(&self.cached_tokens) {
            return Err(TcoError::OutOfRange {
                what: "cached tokens of a request",
                range: "between 0 and its prompt tokens",
                value: self.cached_tokens,
            });
        }
        if !(Decimal::ZERO..=Decimal::ONE).contains(&self.escalated) {
            return Err(TcoError::OutOfRange {
                what: "the escalated share",
                range: "between 0 and 1",
                value: self.escalated,
            });
        }
        if self.tokens_per_day <= Decimal::ZERO {
            return Err(TcoError::OutOfRange {
                what: "tokens per day",
                range: "above 0",
                value: self.tokens_per_day,
            });
        }
        Ok(())
    }

    fn tokens_per_request(&self) -> Decimal {
        self.prompt_tokens + self.output_tokens
    }

    fn requests_per_month(&self) -> Result<Decimal, TcoError> {
        self.check()?;
        let requests = self
            .tokens_per_day
            .checked_mul(DAYS_PER_MONTH)
            .and_then(|tokens| tokens.checked_div(self.tokens_per_request()));
        requests
            .filter(|requests| !requests.is_zero())
            .ok_or(TcoError::Overflow)
    }

    /// The cost of a request at these rates, with `ratio` vendor tokens per own token.
    fn usd_per_request(&self, rates: &Rates, ratio: Decimal) -> Result<Decimal, TcoError> {
        let classes = [
            (TokenClass::Input, self.prompt_tokens - self.cached_tokens),
            (TokenClass::CachedInput, self.cached_tokens),
            (TokenClass::Output, self.output_tokens),
        ];
        let mut usd = Decimal::ZERO;
        for (class, tokens) in classes.into_iter().filter(|(_, tokens)| !tokens.is_zero()) {
            let rate = rates.of(class).ok_or(TcoError::MissingRate(class))?;
            let cost = rate
                .checked_mul(tokens)
                .and_then(|cost| cost.checked_mul(ratio));
            let sum = cost.and_then(|cost| usd.checked_add(cost));
            usd = sum.ok_or(TcoError::Overflow)?;
        }
        Ok(usd / MILLION)
    }

    fn same_cost(&self, usd_per_request: Decimal) -> Result<SameCost, TcoError> {
        let usd_per_month = usd_per_request.checked_mul(self.requests_per_month()?);
        let usd_per_million = usd_per_request
            .checked_mul(MILLION)
            .and_then(|usd| usd.checked_div(self.tokens_per_request()));
        Ok(SameCost {
            usd_per_request,
            usd_per_million: usd_per_million.ok_or(TcoError::Overflow)?,
            usd_per_month: usd_per_month.ok_or(TcoError::Overflow)?,
        })
    }

    /// Inputs of the calculator, with one price per million own tokens of any class.
    fn tco_inputs(&self, fleet: &FleetInputs, usd_per_million: Option<Decimal>) -> TcoInputs {
        TcoInputs {
            workload: Workload {
                tokens_per_day: Some(self.tokens_per_day),
                input_share: Decimal::ONE,
                cached_share: Decimal::ZERO,
                batch_factor: Decimal::ONE,
            },
            rates: Rates {
                input: usd_per_million,
                ..Rates::default()
            },
            fleet: *fleet,
            bills_usd: Vec::new(),
        }
    }
}

fn check_measured(measured: &MeasuredCost) -> Result<(), TcoError> {
    let rates = measured.rates();
    let known = [rates.input, rates.cached_input, rates.output];
    match known
        .into_iter()
        .flatten()
        .find(|rate| !Rates::is_plausible(*rate))
    {
        Some(value) => Err(TcoError::OutOfRange {
            what: "a measured cost per million tokens",
            range: "between 0 and 1000000",
            value,
        }),
        None => Ok(()),
    }
}

fn token_offer(
    work: &Work,
    fleet: &FleetInputs,
    own: &OwnSide,
    price: &TokenPrice,
    today: Date,
) -> Result<OfferSide, TcoError> {
    let terms = PromptTerms {
        prompt_tokens: work.prompt_tokens,
        has_cached_tokens: !work.cached_tokens.is_zero(),
        tokenizer: work.tokenizer,
        text: work.text,
    };
    let offer = OfferRates::new(price, terms)?;
    let cost = work.same_cost(work.usd_per_request(&offer.rates, offer.ratio())?)?;
    let tco = Tco::new(&work.tco_inputs(fleet, Some(cost.usd_per_million)))?;
    Ok(OfferSide {
        name: price.name(),
        kind: price.class.as_str(),
        provenance: price.provenance.clone(),
        stale: price.provenance.is_stale(today),
        tokenizer: price.tokenizer,
        tokens_per_own_token: offer.tokens_per_own_token,
        saving: saving(own, &cost)?,
        break_even: tco
            .thresholds
            .and_then(|volumes| volumes.fixed_fleet.break_even),
        hybrid: HybridSplit::cheapest(
            fleet,
            work.tokens_per_day,
            cost.usd_per_month,
            work.escalated,
        ),
        cost,
        assumptions: offer.assumptions,
    })
}

fn endpoint_offer(
    work: &Work,
    own: &OwnSide,
    bill: Option<&OwnBill>,
    price: &GpuPrice,
    today: Date,
) -> Result<OfferSide, TcoError> {
    let gpus = bill.map_or(1, |bill| bill.gpus);
    let usd_per_month = Decimal::from(gpus) * price.on_demand.usd() * HOURS_PER_MONTH;
    let usd_per_request = usd_per_month.checked_div(work.requests_per_month()?);
    let cost = work.same_cost(usd_per_request.ok_or(TcoError::Overflow)?)?;
    Ok(OfferSide {
        name: format!("{} {}", price.vendor, price.gpu),
        kind: "endpoint",
        provenance: price.provenance.clone(),
        stale: price.provenance.is_stale(today),
        tokenizer: work.tokenizer,
        tokens_per_own_token: Some(Decimal::ONE),
        saving: saving(own, &cost)?,
        break_even: None,
        hybrid: None,
        cost,
        assumptions: vec![format!(
            "{gpus} of its GPUs carry what the own fleet carries, always on, and nobody is paid to run it"
        )],
    })
}

fn saving(own: &OwnSide, offer: &SameCost) -> Result<Option<Saving>, TcoError> {
    let own = own
        .cost()
        .map(|own| Saving::new(offer.usd_per_month, own.usd_per_month));
    own.transpose()
}
