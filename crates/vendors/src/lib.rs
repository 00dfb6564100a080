//! One attempt at answering a chat by a vendor: OpenAI, Anthropic, Google, or a server that speaks
//! like OpenAI's.
//!
//! A [`Vendor`] takes a [`VendorCall`] and gives a [`VendorAnswer`]: the events of the answer, and the
//! account of the attempt, which is closed on every exit. When to try again, and whom to ask instead,
//! is the caller's choice ([`RetryPolicy`] says when).
//!
//! Every attempt is translated anew from the client's [`OriginalChat`], and its worst case is taken
//! from the vendor's daily cap before anything is sent.

mod account;
mod config;
mod config_error;
mod error;
mod event;
mod original_chat;

mod answer;
mod progress;
mod reported_error;
mod sse;
mod tool_calls;
mod translation;
mod usage_counts;
mod vendor_text;

mod dialects;

mod breaker;
mod figures;
mod prices;
mod retry;
mod spend;

mod api_key;
mod endpoint;
mod response_headers;
mod transport;

mod attempt;
mod attempt_account;
mod call;
mod shared;
mod vendor;

pub use account::{Bill, BillBasis, VendorAccount};
pub use breaker::BreakerState;
pub use call::{VendorAccountReceiver, VendorAnswer, VendorCall, VendorEvents};
pub use config::{Dialect, VendorConfig, VendorTimeouts};
pub use config_error::{ConfigProblem, VendorConfigError};
pub use error::VendorError;
pub use event::{VendorEvent, VendorFinish, VendorPiece};
pub use figures::VendorFigures;
pub use original_chat::{InvalidChat, OriginalChat};
pub use retry::RetryPolicy;
pub use vendor::Vendor;
