//! The machine's own cost beside what vendors ask for the same mix of tokens.

use farthing_api::{BreakEvenCard, CostComparison, CostCurveCard, CurvePoint, RivalCard};
use farthing_economics::{
    Cost, CostCurve, GpuKind, GpuPrice, MachineTime, Provenance, RivalClass, TokenPrice, Workload,
};
use jiff::civil::Date;
use rust_decimal::Decimal;

use super::Costs;
use crate::cli::compare;
use crate::clock::today;

/// Where the curve is drawn, in percent of full use: denser where it bends.
const CURVE_PERCENT: [i64; 19] = [
    1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 75, 90, 100,
];

/// `None` where `machine` computed no tokens.
pub(super) fn compare(
    costs: &Costs,
    of: &'static str,
    machine: &MachineTime,
) -> Option<CostComparison> {
    let day = today();
    let prompt_tokens = machine.input.tokens + machine.cached.tokens;
    let input_share = share(prompt_tokens, machine.tokens())?;
    let cached_share = share(machine.cached.tokens, prompt_tokens).unwrap_or_default();
    let mix = Workload {
        tokens_per_day: None,
        input_share,
        cached_share,
        batch_factor: Decimal::ONE,
    };
    let curve = curve(costs, machine);
    let asked = compare::AGAINST
        .iter()
        .filter_map(|name| costs.prices.token_price(name, day).ok());
    let mut rivals: Vec<_> = asked
        .map(|price| by_token(price, &mix, curve.as_ref(), day))
        .collect();
    let endpoints = costs.prices.gpu_prices(day);
    let endpoints = endpoints.filter(|price| price.kind == GpuKind::Endpoint);
    let cheapest = endpoints.min_by_key(|price| price.on_demand);
    rivals.extend(cheapest.map(|price| by_hour(price, day)));
    Some(CostComparison {
        day: day.to_string(),
        of,
        input_share: float(input_share),
        cached_share: float(cached_share),
        curve: curve.map(|curve| curve_card(costs, &curve, machine)),
        rivals,
    })
}

/// What full use is: the capacity within the service level, else what the machine does while it
/// computes.
fn curve(costs: &Costs, machine: &MachineTime) -> Option<CostCurve> {
    let tokens_per_second = match costs.slo_tokens_per_second {
        Some(rate) => rate,
        None => machine.tokens() as f64 / machine.busy_seconds,
    };
    CostCurve::new(costs.price?, decimal(tokens_per_second)?)
}

fn curve_card(costs: &Costs, curve: &CostCurve, machine: &MachineTime) -> CostCurveCard {
    let point = |utilization: Decimal| {
        let usd = curve.usd_per_million_at(utilization)?;
        Some(CurvePoint {
            utilization: shown(utilization),
            usd_per_million: shown(usd),
        })
    };
    let rate = decimal(machine.tokens() as f64 / machine.window_seconds);
    let today = rate.and_then(|rate| rate.checked_div(curve.tokens_per_second()));
    let points = CURVE_PERCENT.map(|percent| point(Decimal::new(percent, 2)));
    CostCurveCard {
        full_use: match costs.slo_tokens_per_second {
            Some(_) => "slo_capacity",
            None => "busy",
        },
        tokens_per_second: shown(curve.tokens_per_second()),
        today: today.and_then(point),
        points: points.into_iter().flatten().collect(),
    }
}

fn by_token(price: &TokenPrice, mix: &Workload, curve: Option<&CostCurve>, day: Date) -> RivalCard {
    // Without what long prompts cost more.
    let rates = price.standard.for_prompt(0);
    let mut reckoned = rates;
    reckoned.cached_input = rates.cached_input.or(rates.input);
    let mixed = mix.blended_usd_per_million(&reckoned).ok();
    let break_even = curve.zip(mixed).and_then(|(curve, mixed)| {
        let utilization = curve.break_even_utilization(mixed)?;
        Some(BreakEvenCard {
            tokens_per_day: Some(curve.break_even_tokens_per_day(mixed)?.round()),
            utilization: shown(utilization),
            reachable: utilization <= Decimal::ONE,
        })
    });
    RivalCard {
        kind: match price.class {
            RivalClass::Frontier => "frontier",
            RivalClass::Hosted => "hosted",
        },
        input: rates.input,
        cached: rates.cached_input,
        output: rates.output,
        mixed: mixed.and_then(shown),
        break_even,
        ..unpriced(price.name(), &price.provenance, day)
    }
}

/// How many tokens such an endpoint makes is not known, so it has no price per token.
fn by_hour(price: &GpuPrice, day: Date) -> RivalCard {
    RivalCard {
        kind: "endpoint",
        per_hour: Some(price.on_demand.usd()),
        ..unpriced(
            format!("{}/{}", price.vendor, price.gpu),
            &price.provenance,
            day,
        )
    }
}

fn unpriced(name: String, provenance: &Provenance, day: Date) -> RivalCard {
    RivalCard {
        name,
        kind: "",
        input: None,
        cached: None,
        output: None,
        mixed: None,
        per_hour: None,
        break_even: None,
        source: provenance.source.clone(),
        read_on: provenance.read_on.to_string(),
        stale: provenance.is_stale(day),
    }
}

fn share(part: u64, whole: u64) -> Option<Decimal> {
    Decimal::from(part).checked_div(Decimal::from(whole))
}

fn shown(figure: Decimal) -> Option<Decimal> {
    Some(figure.round_dp(Cost::SHOWN_DIGITS))
}

/// Of a measured rate; none where it is no number.
fn decimal(rate: f64) -> Option<Decimal> {
    Decimal::try_from(rate).ok()
}

/// For what is only looked at.
fn float(share: Decimal) -> f64 {
    share.try_into().unwrap_or(f64::NAN)
}
