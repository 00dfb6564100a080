//! Runs the step loop on one thread, converts text at its edges, and meters device seconds.

mod account;
mod backlog;
mod calibration;
mod chat_template;
mod command;
mod core;
mod detokenizer;
mod device_budget;
mod device_seconds;
mod generation;
mod handle;
mod least_squares;
mod mailbox;
mod meter;
mod queue_places;
mod rendered_prompt;
mod robust_fit;
mod runner;
mod sequence_event;
mod served_steps;
mod split_basis;
mod stats;
mod step_features;
mod step_learner;
mod step_model;
mod step_work;
mod stop;
mod stream;
mod text_error;
mod token_seconds;
mod tokenizer;

pub use calibration::{Calibrated, Calibration, SlowStep};
pub use chat_template::{ChatContent, ChatMessage, ChatTemplate, TemplateSource};
pub use core::EngineCore;
pub use detokenizer::{Detokenizer, Piece};
pub use device_budget::DeviceBudget;
pub use device_seconds::{DeviceSeconds, Pause};
pub use generation::{
    GeneratedToken, GenerationEvent, GenerationRequest, GenerationUsage, PromptToken, Receipt,
};
pub use handle::{EngineHandle, EngineLimits, SubmitError};
pub use meter::{Meter, Split};
pub use rendered_prompt::RenderedPrompt;
pub use runner::Runner;
pub use split_basis::SplitBasis;
pub use stats::{EngineStats, StepSizes};
pub use step_features::StepFeatures;
pub use step_learner::StepLearner;
pub use step_model::{Fit, FitSource, StepModel};
pub use step_work::{RowContext, RowWork, StepWork};
pub use stream::GenerationStream;
pub use text_error::TextError;
pub use token_seconds::{ByToken, TokenCounts, TokenSeconds};
pub use tokenizer::{Tokenizer, byte_level_alphabet};
