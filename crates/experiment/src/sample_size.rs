//! How many units a figure rests on.

/// How many units a figure rests on.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct SampleSize {
    /// Assignment units, of both arms together if it is a difference.
    pub units: u64,
    /// Assignment units of the smaller arm.
    pub least_units: u64,
    /// Of Student's t (Welch and Satterthwaite for a difference).
    pub degrees_of_freedom: f64,
}

impl SampleSize {
    /// Of one arm.
    pub fn of_arm(units: u64) -> Self {
        Self {
            units,
            least_units: units,
            degrees_of_freedom: (units as f64 - 1.0).max(1.0),
        }
    }

    /// Of two arms, whose variances (squares of standard errors) weigh their degrees of freedom.
    pub(crate) fn of_two(arms: [Self; 2], variances: [f64; 2]) -> Self {
        let [a, b] = arms;
        let whole = variances[0] + variances[1];
        // As parts of the whole, because the squares of small variances would be zero.
        let below: f64 = arms
            .iter()
            .zip(variances)
            .map(|(arm, variance)| (variance / whole).powi(2) / arm.degrees_of_freedom)
            .sum();
        Self {
            units: a.units.saturating_add(b.units),
            least_units: a.least_units.min(b.least_units),
            degrees_of_freedom: if below > 0.0 {
                below.recip()
            } else {
                a.degrees_of_freedom.min(b.degrees_of_freedom)
            },
        }
    }
}
