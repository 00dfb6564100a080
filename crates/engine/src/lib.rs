//! Runs the step loop on one thread, keeps text at its edges, meters device seconds.

mod account;
mod calibration;
mod chat_template;
mod command;
mod core;
mod detokenizer;
mod generation;
mod handle;
mod meter;
mod stats;
mod stop;
mod stream;
mod text_error;
mod tokenizer;

pub use calibration::CalibrationLimits;
pub use chat_template::{ChatContent, ChatMessage, ChatTemplate};
pub use core::EngineCore;
pub use detokenizer::{Detokenizer, Piece};
pub use generation::{
    GeneratedToken, GenerationEvent, GenerationRequest, GenerationUsage, PromptToken,
};
pub use handle::{EngineHandle, EngineLimits, SubmitError};
pub use meter::{Meter, StepFeatures};
pub use stats::EngineStats;
pub use stream::GenerationStream;
pub use text_error::TextError;
pub use tokenizer::{Tokenizer, byte_level_alphabet};
