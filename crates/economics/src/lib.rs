//! Turns seconds, tokens and prices into money.
//!
//! Money is decimal everywhere, up to the JSON output. Floats are used only for measured seconds,
//! and in [`statistics`].

mod cost;
mod decimal_text;
mod hourly_price;
mod json_object;
mod owned_hardware;
mod shown;
mod unit_cost;

mod rates;
mod tokenizer_family;
mod usage;

mod price;
mod price_book;

mod comparison;
mod cost_curve;
mod fleet;
mod hybrid;
mod measured_cost;
mod mix_comparison;
mod offer;
mod tco;
mod tco_error;
mod workload;

pub mod statistics;

pub use comparison::{Comparison, OfferSide, OwnSide, SameCost, Work};
pub use cost::{Basis, Cost, CostError};
pub use cost_curve::CostCurve;
pub use decimal_text::{exact, exact_or_null, parse_decimal, read_exact_or_null};
pub use fleet::{FleetInputs, GpuCapacity, OwnBill};
pub use hourly_price::{HourlyPrice, PriceError};
pub use hybrid::HybridSplit;
pub use measured_cost::{MeasuredCost, MeasuredCostError};
pub use mix_comparison::{BreakEven, MeasuredMix, MixComparison, OfferAtMix};
pub use offer::{DEFAULT_OFFERS, Offer};
pub use owned_hardware::{HOURS_PER_MONTH, OwnedHardware, OwnedHardwareError};
pub use price::{GpuKind, GpuPrice, GpuUnit, OfferClass, Provenance, TokenPrice, TokenUnit};
pub use price_book::{PriceBook, PriceBookError, model_spellings};
pub use rates::{CostLine, RateCard, Rates, RatesError, RatesJsonError, RequestCost, Tier};
pub use shown::{shown, shown_millions, shown_percent, shown_usd};
pub use tco::{
    ApiBill, BlendedPriceNeeded, Claim, Holds, Saving, SavingVolumes, Tco, TcoInputs, Thresholds,
    Volume,
};
pub use tco_error::TcoError;
pub use tokenizer_family::{TextKind, TokenizerFamily};
pub use unit_cost::{MachineTime, TokenWork, UnitCost, UnitCosts};
pub use usage::{CacheCounting, ReportedUsage, TokenClass, Usage, UsageError, UsageJsonError};
pub use workload::{DAYS_PER_MONTH, Workload};
