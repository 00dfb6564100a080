//! From which volume our own arm is cheaper.

use farthing_experiment::{BreakEven, CheaperSide, Estimate, ExperimentError, FixedCost};
use rust_decimal::Decimal;
use serde::Serialize;

use super::metrics::{ArmPairRows, OwnCost, known};
use super::time::{Load, Period};
use crate::ExperimentSpec;

/// From which volume a day our own arm is cheaper than the vendor's. The machine costs the same at
/// any volume; per answer, our own arm costs only the vendors' bills of its fallbacks.
#[derive(Clone, Debug, Serialize)]
pub(super) struct BreakEvenReport {
    /// Our own arm.
    pub(super) own_arm: String,
    /// The price of our machine for a day.
    #[serde(serialize_with = "farthing_economics::exact_or_null")]
    pub(super) fixed_usd_per_day: Option<Decimal>,
    /// In accepted answers a day. The capacity is that of a device that always computes.
    accepted_answers_per_day: Option<BreakEven>,
    /// The same in millions of our own arm's tokens a day.
    million_tokens_per_day: Option<BreakEven>,
    /// Accepted answers a day of both arms in the period.
    present_accepted_answers_per_day: Option<f64>,
    /// Who is cheaper at that volume.
    cheaper_at_present_volume: Option<CheaperSide>,
    /// All of it in a sentence, or why it is not known.
    pub(super) words: String,
}

impl BreakEvenReport {
    pub(super) fn of(
        pair: &ArmPairRows,
        spec: &ExperimentSpec,
        load: &Load,
        period: &Period,
    ) -> Result<Option<Self>, ExperimentError> {
        let are_own = [pair.arms[0].is_own(), pair.arms[1].is_own()];
        let (own, vendor) = match are_own {
            [true, false] => (0, 1),
            [false, true] => (1, 0),
            _ => return Ok(None),
        };
        if pair.arms[vendor].totals.vendor_attempts == 0 {
            return Ok(None);
        }
        let price = load.used.latest_price.map(|price| price.usd());
        let mut report = Self {
            own_arm: pair.arms[own].name.clone(),
            fixed_usd_per_day: price.map(|price| price * Decimal::from(24)),
            accepted_answers_per_day: None,
            million_tokens_per_day: None,
            present_accepted_answers_per_day: None,
            cheaper_at_present_volume: None,
            words: String::new(),
        };
        let Some(fixed) = report.fixed_usd_per_day else {
            report.words = "Not known: our machine has no price.".to_owned();
            return Ok(Some(report));
        };
        if pair.arms.iter().any(|arm| arm.totals.unknown_bills > 0) {
            report.words = "Not known: some bills of vendors are unknown.".to_owned();
            return Ok(Some(report));
        }
        match report.find(pair, spec, [own, vendor], fixed, period) {
            Err(error) if error.is_for_now() => {
                report.words = format!("Not known yet: {error}.");
            }
            found => found?,
        }
        Ok(Some(report))
    }

    fn find(
        &mut self,
        pair: &ArmPairRows,
        spec: &ExperimentSpec,
        [own, vendor]: [usize; 2],
        fixed: Decimal,
        period: &Period,
    ) -> Result<(), ExperimentError> {
        let bills = |arm| -> Result<Estimate, ExperimentError> {
            let per_accepted = pair.usd_per_accepted(arm, OwnCost::None)?;
            // Without fallbacks our own arm has no bills, which is known without an error.
            match pair.arms[arm].totals.vendor_attempts {
                0 => Ok(known(0.0, per_accepted.units())),
                _ => per_accepted.ratio(),
            }
        };
        let (own_bills, vendor_bills) = (bills(own)?, bills(vendor)?);
        let seconds = pair
            .per_accepted(own, |unit| unit.device_seconds)?
            .ratio()?;
        let tokens = pair.per_accepted(own, |unit| unit.tokens)?.ratio()?;
        let millions = tokens.value / 1e6;
        let capacity = (seconds.value > 0.0).then(|| 86_400.0 / seconds.value);
        let find = |answers_per_unit: f64| {
            BreakEven::find(
                FixedCost {
                    usd_per_day: f64::try_from(fixed).unwrap_or(f64::MAX),
                    standard_error: 0.0,
                    capacity: capacity.map(|capacity| capacity / answers_per_unit),
                },
                &scaled(own_bills, answers_per_unit),
                &scaled(vendor_bills, answers_per_unit),
                spec.inference,
                spec.confidence,
            )
        };
        let in_answers = find(1.0)?;
        let present = pair.arms.iter().map(|arm| {
            let [answered, rated, accepted] = [
                arm.sum(|it| it.answered.into()),
                arm.sum(|it| it.rated.into()),
                arm.sum(|it| it.accepted.into()),
            ];
            answered * accepted / rated.max(1.0)
        });
        let present = present.sum::<f64>() / period.days();
        self.words = in_answers.in_words("accepted answers");
        if millions > 0.0 {
            let in_tokens = find(millions.recip())?;
            let words = in_tokens.in_words("million tokens");
            self.words = format!("{words} That is {}.", in_answers_text(&in_answers));
            self.million_tokens_per_day = Some(in_tokens);
        }
        self.present_accepted_answers_per_day = Some(present);
        self.cheaper_at_present_volume = Some(in_answers.at(present));
        self.accepted_answers_per_day = Some(in_answers);
        Ok(())
    }
}

/// A cost per answer as a cost per other unit.
fn scaled(per_answer: Estimate, answers_per_unit: f64) -> Estimate {
    Estimate {
        value: per_answer.value * answers_per_unit,
        standard_error: per_answer.standard_error * answers_per_unit,
        size: per_answer.size,
    }
}

fn in_answers_text(break_even: &BreakEven) -> String {
    match break_even.volume {
        Some(volume) => format!("{volume:.0} accepted answers a day at this load"),
        None => "no volume of accepted answers".to_owned(),
    }
}
