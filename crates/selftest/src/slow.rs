//! Finds operations that are far slower than their neighbours.

use std::fmt;

use serde::Serialize;

use crate::op_rate::OpRate;

/// An operation is reported if a neighbour is this many times as fast. A kernel that is compiled
/// without its level's instructions is about thirty times slower, and noise is less than a factor
/// of 2.
const FAR: f64 = 2.0;

/// An operation that is far slower than a neighbour.
#[derive(Clone, Debug, Serialize)]
pub struct SlowOp {
    /// The operation and its shape.
    pub op: String,
    /// What it is compared with: the same operation with fewer rows, or at the next lower level of
    /// instructions.
    pub neighbour: String,
    /// Its speed divided by the neighbour's.
    pub ratio: f64,
}

impl fmt::Display for SlowOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} has {:.0} % of the speed of {}",
            self.op,
            self.ratio * 100.0,
            self.neighbour
        )
    }
}

/// Compares an operation with the last timed one of the same name, which has fewer rows, and with
/// itself at the next lower level of instructions.
pub(super) fn slow_beside(rate: &OpRate, timed: &[OpRate]) -> Option<SlowOp> {
    let fewer_rows = timed.iter().rev().find(|other| other.name() == rate.name());
    let fewer_rows = fewer_rows.map(|other| (other.op.clone(), rate.speed() / other.speed()));
    let below = rate.below.as_ref().map(|below| {
        let neighbour = format!("the same at level {}", below.level);
        (neighbour, below.seconds / rate.seconds)
    });
    let neighbours = fewer_rows.into_iter().chain(below);
    let far = neighbours.filter(|(_, ratio)| ratio * FAR < 1.0);
    let slowest = far.min_by(|(_, a), (_, b)| a.total_cmp(b));
    slowest.map(|(neighbour, ratio)| SlowOp {
        op: rate.op.clone(),
        neighbour,
        ratio,
    })
}

#[cfg(test)]
mod tests;
