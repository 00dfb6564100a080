//! The rotary frequencies that early Llama checkpoints store beside their weights.
//!
//! transformers and vLLM compute them from the configuration and skip the stored ones, and so do we.
//! If the two differ, the configuration may not be that of these weights, and a warning says so.

use crate::{RopeConfig, RopeScaling};

/// Whether a tensor holds rotary frequencies.
pub(super) fn is_one(name: &str) -> bool {
    name.ends_with("rotary_emb.inv_freq")
}

/// A warning if the stored frequencies are not the configuration's.
pub(super) fn contradiction(name: &str, stored: &[f32], rope: &RopeConfig) -> Option<String> {
    // Checkpoints that scale positions store the frequencies before that.
    let unscaled = RopeConfig {
        scaling: RopeScaling::None,
        ..rope.clone()
    };
    let agrees = [rope, &unscaled]
        .iter()
        .any(|rope| are_near(stored, &rope.inv_freq(0)));
    (!agrees).then(|| {
        format!(
            "tensor `{name}` contradicts the rotary settings of config.json (`rope_theta` {}): \
             the config's are used, as in transformers; check that it belongs to these weights",
            rope.theta
        )
    })
}

/// Whether frequencies are equal up to the rounding of f16 and bf16.
fn are_near(stored: &[f32], computed: &[f32]) -> bool {
    const RELATIVE: f32 = 1.0 / 128.0;
    // f16 has no finer steps near zero.
    const ABSOLUTE: f32 = 6e-8;
    stored.len() == computed.len()
        && stored
            .iter()
            .zip(computed)
            .all(|(stored, computed)| (stored - computed).abs() <= RELATIVE * computed + ABSOLUTE)
}
