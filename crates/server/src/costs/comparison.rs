//! The comparison with vendors, as the page and `GET /v1/costs/now` show it.

use farthing_api::{BreakEvenCard, CostComparison, CostCurveCard, CurvePoint, OfferCard};
use farthing_economics::{Cost, CostCurve, MixComparison, OfferAtMix};
use jiff::civil::Date;
use rust_decimal::Decimal;

/// The utilizations at which the curve is drawn, in percent: denser where it bends.
const CURVE_PERCENT: [i64; 19] = [
    1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 75, 90, 100,
];

/// `of` names the span whose tokens are compared, `full_use` what counts as full utilization.
pub(super) fn card(
    comparison: MixComparison,
    of: &'static str,
    full_use: &'static str,
    day: Date,
) -> CostComparison {
    CostComparison {
        day: day.to_string(),
        of,
        input_share: float(comparison.input_share),
        cached_share: float(comparison.cached_share),
        curve: comparison
            .curve
            .map(|curve| curve_card(&curve, full_use, comparison.utilization)),
        offers: comparison.offers.into_iter().map(offer_card).collect(),
    }
}

fn curve_card(
    curve: &CostCurve,
    full_use: &'static str,
    utilization: Option<Decimal>,
) -> CostCurveCard {
    let point = |utilization: Decimal| {
        let usd = curve.usd_per_million_at(utilization)?;
        Some(CurvePoint {
            utilization: rounded(utilization),
            usd_per_million: rounded(usd),
        })
    };
    let points = CURVE_PERCENT.map(|percent| point(Decimal::new(percent, 2)));
    CostCurveCard {
        full_use,
        tokens_per_second: rounded(curve.tokens_per_second()),
        today: utilization.and_then(point),
        points: points.into_iter().flatten().collect(),
    }
}

fn offer_card(offer: OfferAtMix) -> OfferCard {
    OfferCard {
        name: offer.name,
        kind: offer.kind,
        input: offer.rates.input,
        cached: offer.rates.cached_input,
        output: offer.rates.output,
        mixed: offer.usd_per_million.and_then(rounded),
        per_hour: offer.per_hour.map(|price| price.usd()),
        break_even: offer.break_even.map(|break_even| BreakEvenCard {
            tokens_per_day: Some(break_even.tokens_per_day.round()),
            utilization: rounded(break_even.utilization),
            reachable: break_even.utilization <= Decimal::ONE,
        }),
        source: offer.provenance.source,
        read_on: offer.provenance.read_on.to_string(),
        stale: offer.stale,
    }
}

fn rounded(figure: Decimal) -> Option<Decimal> {
    Some(figure.round_dp(Cost::SHOWN_DIGITS))
}

fn float(share: Decimal) -> f64 {
    share.try_into().unwrap_or(f64::NAN)
}
