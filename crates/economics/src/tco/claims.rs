//! Common claims about APIs and own GPUs, checked against figures.

use rust_decimal::Decimal;
use serde::Serialize;

use super::{Tco, TcoInputs, Volume, usd_per_month_of_a_daily_token};
use crate::HOURS_PER_MONTH;
use crate::shown::{shown_millions, shown_percent, shown_usd};

/// A claim of the published article, and whether these figures support it.
#[derive(Clone, Debug, Serialize)]
pub struct Claim {
    /// The claim.
    pub claim: &'static str,
    /// Whether it holds.
    pub holds: Holds,
    /// The reason, and when it would hold.
    pub why: String,
}

/// Whether a claim holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Holds {
    /// In all of its range.
    Yes,
    /// In a part of its range.
    Partly,
    /// In no part of its range.
    No,
}

const MILLION_TOKENS: i64 = 1_000_000;
/// "A few million tokens a day."
const FEW: i64 = 5 * MILLION_TOKENS;
/// "Tens of millions of tokens a day."
const TENS: [i64; 2] = [10 * MILLION_TOKENS, 100 * MILLION_TOKENS];
/// "Tens of thousands of dollars a month."
const TENS_OF_THOUSANDS_USD: i64 = 10_000;

/// The claims that these figures can check.
pub(super) fn hold(inputs: &TcoInputs, tco: &Tco) -> Vec<Claim> {
    let price = tco.api.map(|api| api.blended_usd_per_million);
    let daily = price.and_then(usd_per_month_of_a_daily_token);
    let daily = daily.filter(|daily| !daily.is_zero());
    [
        daily.and_then(|daily| bill_of_five_million(inputs, daily)),
        daily.and_then(bill_of_tens_of_millions),
        inputs
            .fleet
            .per_gpu_hour
            .and_then(|price| bill_of_a_fleet(price.usd())),
        few_millions_are_cheaper_at_the_api(tco),
        daily.and_then(|daily| saving_at_tens_of_millions(tco, daily)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn bill_of_five_million(inputs: &TcoInputs, daily: Decimal) -> Option<Claim> {
    let claimed = [3_000, 7_000].map(Decimal::from);
    let bill = daily.checked_mul(Decimal::from(FEW))?;
    let known = [
        inputs.rates.input,
        inputs.rates.cached_input,
        inputs.rates.output,
    ];
    let dearest = known.into_iter().flatten().max()? * inputs.workload.batch_factor;
    let highest = usd_per_month_of_a_daily_token(dearest)?.checked_mul(Decimal::from(FEW))?;
    let millions = Decimal::from(FEW / MILLION_TOKENS * 30);
    let needed = claimed.map(|usd| shown_usd(usd / millions));
    let holds = if (claimed[0]..=claimed[1]).contains(&bill) {
        Holds::Yes
    } else if highest >= claimed[0] && bill < claimed[0] {
        Holds::Partly
    } else {
        Holds::No
    };
    Some(Claim {
        claim: "5 M tokens a day cost $3,000 to $7,000 a month at an API",
        holds,
        why: format!(
            "at these prices they cost {} in this mix and {} if every token were of the dearest \
             class; the claim takes a blended price of {} to {} per million",
            shown_usd(bill),
            shown_usd(highest),
            needed[0],
            needed[1]
        ),
    })
}

fn bill_of_tens_of_millions(daily: Decimal) -> Option<Claim> {
    let from = Decimal::from(TENS_OF_THOUSANDS_USD).checked_div(daily)?;
    let [low, high] = TENS.map(Decimal::from);
    Some(Claim {
        claim: "Tens of millions of tokens a day cost tens of thousands of dollars a month at an API",
        holds: match from {
            from if from <= low => Holds::Yes,
            from if from < high => Holds::Partly,
            _ => Holds::No,
        },
        why: format!(
            "in this mix $10,000 a month are reached at {} tokens a day",
            shown_millions(from)
        ),
    })
}

fn bill_of_a_fleet(usd_per_gpu_hour: Decimal) -> Option<Claim> {
    let [low, high] = [8, 16].map(|gpus| Decimal::from(gpus) * usd_per_gpu_hour * HOURS_PER_MONTH);
    let tens = Decimal::from(TENS_OF_THOUSANDS_USD);
    Some(Claim {
        claim: "8 to 16 GPUs cost tens of thousands of dollars a month",
        holds: match (low >= tens, high >= tens) {
            (true, _) => Holds::Yes,
            (false, true) => Holds::Partly,
            (false, false) => Holds::No,
        },
        why: format!(
            "at {} an hour 8 cost {} and 16 cost {} a month; what the traffic needs is another \
             question",
            shown_usd(usd_per_gpu_hour),
            shown_usd(low),
            shown_usd(high)
        ),
    })
}

fn few_millions_are_cheaper_at_the_api(tco: &Tco) -> Option<Claim> {
    let fixed = tco.thresholds?.fixed_fleet.break_even;
    let break_even = fixed.filter(|volume| volume.reachable != Some(false));
    let few = Decimal::from(FEW);
    let (holds, why) = match break_even {
        Some(volume) if volume.tokens_per_day > few => (Holds::Yes, even_at(&volume)),
        Some(volume) if volume.tokens_per_day > Decimal::from(MILLION_TOKENS) => {
            (Holds::Partly, even_at(&volume))
        }
        Some(volume) => (Holds::No, even_at(&volume)),
        None => (
            Holds::Yes,
            "this fleet costs more than the API at any traffic that it carries".to_owned(),
        ),
    };
    Some(Claim {
        claim: "Up to a few million tokens a day the API is cheaper",
        holds,
        why,
    })
}

fn even_at(volume: &Volume) -> String {
    let carried = match (volume.utilisation, volume.reachable) {
        (Some(utilisation), Some(true)) => {
            format!(", where it is {} busy", shown_percent(utilisation))
        }
        _ => String::new(),
    };
    format!(
        "this fleet breaks even with the API at {} tokens a day{carried}",
        shown_millions(volume.tokens_per_day)
    )
}

fn saving_at_tens_of_millions(tco: &Tco, daily: Decimal) -> Option<Claim> {
    let own = tco.own?;
    let volumes = tco.thresholds?.fixed_fleet;
    let (from, to) = (volumes.saving_40_percent?, volumes.saving_60_percent?);
    let [low, high] = TENS.map(Decimal::from);
    // The saving is highest when the fleet is at capacity.
    let carried = own.carries_tokens_per_day;
    let reached = carried.is_none_or(|carried| from.tokens_per_day <= carried);
    let overlaps = from.tokens_per_day <= high && to.tokens_per_day >= low;
    let holds = match (
        reached && overlaps,
        from.tokens_per_day <= low,
        to.tokens_per_day >= high,
    ) {
        (true, true, true) => Holds::Yes,
        (true, ..) => Holds::Partly,
        (false, ..) => Holds::No,
    };
    let band = format!(
        "this fleet of {} saves 40 to 60 % only between {} and {} tokens a day",
        own.gpus,
        shown_millions(from.tokens_per_day),
        shown_millions(to.tokens_per_day)
    );
    let limit = match carried.filter(|carried| *carried < to.tokens_per_day) {
        Some(carried) => format!(", and it carries {}", shown_millions(carried)),
        None => String::new(),
    };
    let at = |tokens: Decimal| {
        let bill = daily.checked_mul(tokens)?;
        let share = Decimal::ONE - own.usd_per_month.checked_div(bill)?;
        Some(format!(
            "{} at {}",
            shown_percent(share),
            shown_millions(tokens)
        ))
    };
    let [at_low, at_high] = [at(low)?, at(high)?];
    Some(Claim {
        claim: "Own GPUs save 40 to 60 % at tens of millions of tokens a day",
        holds,
        why: format!(
            "{band}{limit}: it would save {at_low} and {at_high}. Which API price is displaced \
             decides it, and who is paid to run the fleet"
        ),
    })
}
