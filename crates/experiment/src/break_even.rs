//! From which volume a day the own model is cheaper than the vendor.

use crate::error::{ExperimentError, finite, not_negative, positive};
use crate::estimate::Estimate;
use crate::fieller::{Measured, PositiveRatios};
use crate::figure::Figure;
use crate::inference::{Inference, Sides};

/// What the own model costs a day, whatever it does: GPU hours × price.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FixedCost {
    /// US dollars a day.
    pub usd_per_day: f64,
    /// The error of its measured part in dollars; 0 if it follows from prices alone. It must be
    /// independent of the requests' own costs.
    pub standard_error: f64,
    /// The volume a day that this hardware carries within its SLO, if it is known.
    pub capacity: Option<f64>,
}

/// The volume a day from which the own model is cheaper, in the unit that both costs are per:
/// accepted answers, or tokens.
///
/// The own cost per answer is `fixed / volume + own`, which falls with the volume; the vendor's is
/// constant. They meet at `fixed / (vendor - own)`. Its interval is Fieller's: see `fieller.rs`.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct BreakEven {
    /// The estimate; `None` if the vendor is as cheap at any volume.
    pub volume: Option<f64>,
    /// Below this volume the vendor is cheaper; `None` if it is at any volume.
    pub low: Option<f64>,
    /// Above this volume the own model is cheaper; `None` if no volume is known to be enough.
    pub high: Option<f64>,
    /// What the hardware carries a day.
    pub capacity: Option<f64>,
}

/// Who is cheaper at a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheaperSide {
    /// The own model.
    Own,
    /// The vendor.
    Vendor,
    /// The volume is inside the interval.
    Unclear,
    /// The volume is more than the hardware carries, so the fixed cost would be another.
    BeyondCapacity,
}

impl BreakEven {
    /// Compares the own cost with the vendor's cost. `own` is the measured part without the fixed
    /// cost; both are in dollars per accepted answer (or per token), from independent units.
    ///
    /// # Errors
    /// A parameter is out of range, or there are too few units.
    pub fn find(
        fixed: FixedCost,
        own: &Estimate,
        vendor: &Estimate,
        inference: Inference,
        confidence: f64,
    ) -> Result<Self, ExperimentError> {
        let fixed_cost = not_negative("the fixed cost a day", fixed.usd_per_day)?;
        let fixed_error = not_negative("the fixed cost's error", fixed.standard_error)?;
        if let Some(capacity) = fixed.capacity {
            positive("the capacity", capacity)?;
        }
        let gain = Estimate::difference(own, vendor)?;
        if gain.standard_error == 0.0 {
            return Err(ExperimentError::ZeroVariance);
        }
        let z = inference.multiplier(gain.size, confidence, Sides::Two)?;
        let possible = PositiveRatios::of(
            Measured {
                value: fixed_cost,
                half_width: z * fixed_error,
            },
            Measured {
                value: gain.value,
                half_width: z * gain.standard_error,
            },
        );
        let high = possible.and_then(|ratios| ratios.high);
        Ok(Self {
            volume: (gain.value > 0.0)
                .then(|| finite(fixed_cost / gain.value))
                .transpose()?,
            low: possible.map(|ratios| finite(ratios.low)).transpose()?,
            // A volume beyond all numbers is no limit.
            high: high.filter(|high| high.is_finite()),
            capacity: fixed.capacity,
        })
    }

    /// Who is cheaper at a volume a day.
    pub fn at(&self, volume: f64) -> CheaperSide {
        if self.capacity.is_some_and(|capacity| volume > capacity) {
            return CheaperSide::BeyondCapacity;
        }
        match (self.low, self.high) {
            (None, _) => CheaperSide::Vendor,
            (Some(low), _) if volume < low => CheaperSide::Vendor,
            (_, Some(high)) if volume > high => CheaperSide::Own,
            _ => CheaperSide::Unclear,
        }
    }

    /// The verdict in a sentence; `what` is counted, for example "accepted answers".
    pub fn in_words(&self, what: &str) -> String {
        let beyond = |volume: f64| self.capacity.filter(|capacity| volume > *capacity);
        let Some(low) = self.low else {
            return format!("The vendor is cheaper at any volume of {what}.");
        };
        if let Some(capacity) = beyond(low) {
            return format!(
                "The vendor is cheaper up to {} {what} a day, and this hardware carries only {}.",
                Figure(low),
                Figure(capacity)
            );
        }
        let (Some(volume), Some(high)) = (self.volume, self.high) else {
            return format!(
                "Not known yet: the own model can be cheaper only above {} {what} a day.",
                Figure(low)
            );
        };
        let mut words = format!(
            "The own model is cheaper above {} {what} a day (between {} and {}).",
            Figure(volume),
            Figure(low),
            Figure(high)
        );
        if let Some(capacity) = beyond(high) {
            words += &format!(
                " This hardware carries {}, so it is not certain that it gets there.",
                Figure(capacity)
            );
        }
        words
    }
}
