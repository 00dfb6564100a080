//! The single values of one metric in one arm, by assignment unit, for quantiles.

use std::collections::BTreeMap;

use crate::error::{ExperimentError, finite};

/// Values of an arm by unit, for example seconds to the first token.
///
/// A quantile needs the values themselves, so the memory grows with the rows: 8 bytes each.
#[derive(Clone, Debug, PartialEq)]
pub struct UnitValues<K: Ord> {
    units: BTreeMap<K, Vec<f64>>,
    values: u64,
}

impl<K: Ord> Default for UnitValues<K> {
    fn default() -> Self {
        Self {
            units: BTreeMap::new(),
            values: 0,
        }
    }
}

impl<K: Ord> UnitValues<K> {
    /// An arm without values.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a value. Nothing changes if it fails.
    ///
    /// # Errors
    /// The value is not finite.
    pub fn add(&mut self, unit: K, value: f64) -> Result<(), ExperimentError> {
        let value = finite(value)?;
        self.units.entry(unit).or_default().push(value);
        self.values += 1;
        Ok(())
    }

    /// Adds the values of another part of the same arm. A unit may be in both parts.
    pub fn merge(&mut self, other: Self) {
        for (unit, values) in other.units {
            self.units.entry(unit).or_default().extend(values);
        }
        self.values += other.values;
    }

    /// The number of units.
    pub fn units(&self) -> u64 {
        self.units.len() as u64
    }

    /// The number of values.
    pub fn values(&self) -> u64 {
        self.values
    }

    /// The values of each unit, in the units' order.
    pub fn by_unit(&self) -> impl Iterator<Item = &[f64]> {
        self.units.values().map(Vec::as_slice)
    }
}
