//! Runs the step loop on one thread, keeps text at its edges, meters device seconds.

mod generation;
mod handle;
mod stats;

pub use generation::{
    GeneratedToken, GenerationEvent, GenerationRequest, GenerationUsage, PromptToken,
};
pub use handle::{EngineHandle, GenerationStream, SubmitError};
pub use stats::EngineStats;
