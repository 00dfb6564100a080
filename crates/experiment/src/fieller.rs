//! The values of a ratio that two measured figures leave possible.

/// The positive ratios `above / below` that are not excluded, by Fieller's theorem (1954).
///
/// It inverts the test of `above - ratio × below = 0`, so it also covers when the denominator is
/// near zero. There the ratio is skewed and has no upper limit, which an interval of the delta
/// method, symmetric and always finite, can't show.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct PositiveRatios {
    /// The lowest possible ratio.
    pub(crate) low: f64,
    /// The highest possible ratio; `None` if there is no limit.
    pub(crate) high: Option<f64>,
}

/// A figure with its half-width at the confidence of the interval.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub(crate) value: f64,
    pub(crate) half_width: f64,
}

impl PositiveRatios {
    /// `None` if no positive ratio is possible. `above` must be at least zero, and both figures
    /// independent of each other.
    pub(crate) fn of(above: Measured, below: Measured) -> Option<Self> {
        // As parts of their sizes, so that no square is too large or too small for a float.
        let [above_size, below_size] = [above, below].map(|it| it.value.abs().max(it.half_width));
        if above_size == 0.0 {
            return Self::of_parts(above, below.divided_by(below_size));
        }
        let parts = [above.divided_by(above_size), below.divided_by(below_size)];
        let ratios = Self::of_parts(parts[0], parts[1])?;
        let scale = above_size / below_size;
        Some(Self {
            low: ratios.low * scale,
            high: ratios.high.map(|high| high * scale),
        })
    }

    fn of_parts(above: Measured, below: Measured) -> Option<Self> {
        // The possible ratios x are those with a·x² - 2b·x + c ≤ 0.
        let [a, c] =
            [below, above].map(|it| (it.value - it.half_width) * (it.value + it.half_width));
        let b = above.value * below.value;
        let root = (b * b - a * c).max(0.0).sqrt();
        // Each root is written so that no two near figures are subtracted.
        if a > 0.0 {
            // The denominator has a sign, and the ratio has it, too.
            (below.value > 0.0).then(|| Self {
                low: if c > 0.0 { c / (b + root) } else { 0.0 },
                high: Some((b + root) / a),
            })
        } else if c > 0.0 {
            // All beyond the positive root.
            let low = if b < 0.0 {
                (b - root) / a
            } else {
                c / (b + root)
            };
            low.is_finite().then_some(Self { low, high: None })
        } else {
            // Neither figure is known to differ from zero.
            Some(Self {
                low: 0.0,
                high: None,
            })
        }
    }
}

impl Measured {
    fn divided_by(self, size: f64) -> Self {
        Self {
            value: self.value / size,
            half_width: self.half_width / size,
        }
    }
}
