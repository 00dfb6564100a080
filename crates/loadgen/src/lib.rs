//! Open-loop load on any OpenAI-compatible endpoint, and what it cost.
//!
//! [`bench`] puts [`Traffic`] on a [`Target`] and returns a [`Report`]. Figures have the names and
//! definitions of vLLM's benchmark, with two differences: time to first token is measured to the
//! first text (vLLM uses a chat's first chunk, which may contain only the role), and rates exclude
//! the warm-up and the drain.

mod bench;
mod load_report;
mod report;
mod warnings;

mod trace;
mod traffic;

mod distribution;
mod figures;
mod load_cost;
mod model_share;
mod slo;
mod slo_search;
mod window;

mod client_health;
mod live;
mod load;
mod meter;
mod preflight;
mod stop;

mod answer_reader;
mod chunk;
mod client;
mod exchange;
mod prompt;
mod record;
mod sse;
mod target;

pub use bench::{BenchConfig, BenchConfigError, BenchError, bench};
pub use client::ClientError;
pub use client_health::ClientHealth;
pub use distribution::Distribution;
pub use figures::{FailureCount, Figures};
pub use live::Progress;
pub use load::Observer;
pub use load_cost::{BootstrapCard, ClassCost, CostSplit, LoadCost};
pub use load_report::{LoadReport, TimelinePoint};
pub use model_share::ModelShare;
pub use preflight::PreflightError;
pub use report::{LoadCard, Report, SloCard, TargetCard};
pub use slo::{Slo, SloLimit};
pub use slo_search::{SloProbe, SloRate, SloSearch, Tally};
pub use stop::Stop;
pub use target::{Backend, Target, TargetError};
pub use trace::{Trace, TraceError, TraceFormat, TraceRequest};
pub use traffic::{Arrivals, Assignment, Lengths, RandomLengths, Traffic};
