//! The assignment of units to arms.

use sha2::{Digest, Sha256};

use crate::{Arm, Unit};

/// The arm of a unit, or `None` if no arm has a weight.
///
/// This is weighted rendezvous hashing: each arm draws a number of its own from a hash of (salt,
/// experiment, arm, unit), and the highest of `ln(draw) / weight` wins. An arm gets its share of the
/// weights, and if a weight changes, units move only to or from that arm: all others stay where they
/// are. The salt separates experiments: without one, the users of one experiment's candidate would
/// also be those of the next.
pub fn assign<'a>(
    salt: &str,
    experiment: &str,
    unit: &Unit,
    arms: impl IntoIterator<Item = (&'a Arm, f64)>,
) -> Option<&'a Arm> {
    let drawn = arms
        .into_iter()
        .filter(|(_, weight)| *weight > 0.0)
        .map(|(arm, weight)| (arm, draw(salt, experiment, &arm.name, unit).ln() / weight));
    // The first of equals wins, whatever the number of arms.
    let best = drawn.reduce(|best, next| if next.1 > best.1 { next } else { best });
    best.map(|(arm, _)| arm)
}

/// A number above 0 and below 1, uniform over units.
pub(crate) fn draw(salt: &str, experiment: &str, arm: &str, unit: &Unit) -> f64 {
    let mut hash = Sha256::new();
    for part in [salt, experiment, arm, unit.as_str()] {
        // With its length, so that no two lists of parts are the same bytes.
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let digest = hash.finalize();
    let mut bits = [0; 8];
    bits.copy_from_slice(&digest[..8]);
    // The 52 bits and a half fit a float exactly, so it is neither 0 nor 1.
    let high = u64::from_be_bytes(bits) >> 12;
    (high as f64 + 0.5) / (1u64 << 52) as f64
}
