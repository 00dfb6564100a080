//! Vendors beside our own engine, and experiments that compare them.
//!
//! ```text
//! ExperimentSpec (TOML) ─┐
//! LedgerReader ──────────┴► Report: figures, intervals, verdict ─► JSON │ text │ HTML
//! ```

mod experiment_spec;
mod report;

pub use experiment_spec::{
    Design, ExperimentSpec, GuardrailAct, GuardrailSpec, GuardrailSpecs, Quality, QualitySource,
    SpecError, Unit,
};
pub use report::{Report, ReportError, Split};
