//! The resources that one choice used.

use farthing_api::ByToken;
use farthing_economics::Basis;

/// Tokens and time of one choice. What a provider does not measure is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ChoiceUsage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Of these, tokens from a prompt cache.
    pub cached_tokens: usize,
    /// Generated tokens, an end-of-sequence token included.
    pub completion_tokens: usize,
    /// Time on a device of our own.
    pub device: Option<DeviceUsage>,
    /// Time by phase.
    pub phases: Option<Phases>,
}

/// A choice's share of the measured device time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeviceUsage {
    /// Device seconds.
    pub seconds: f64,
    /// The same by token class. A step that failed has seconds but no class.
    pub by_class: ByToken<f64>,
    /// How the time of a step was split among its sequences.
    pub basis: Basis,
}

/// Where a choice spent its time, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Phases {
    /// From arrival to the first step.
    pub queue_seconds: f64,
    /// From the first step to the first token.
    pub prefill_seconds: f64,
    /// From the first token to the last.
    pub decode_seconds: f64,
    /// The number of preemptions.
    pub preemptions: usize,
}
