//! Runs the step loop on one thread, keeps text at its edges, meters device seconds.

mod account;
mod calibration;
mod command;
mod core;
mod generation;
mod handle;
mod meter;
mod stats;
mod stream;

pub use calibration::CalibrationLimits;
pub use core::EngineCore;
pub use generation::{
    GeneratedToken, GenerationEvent, GenerationRequest, GenerationUsage, PromptToken,
};
pub use handle::{EngineHandle, EngineLimits, SubmitError};
pub use meter::{Meter, StepFeatures};
pub use stats::EngineStats;
pub use stream::GenerationStream;
