//! What an attempt used and cost.

use farthing_economics::Usage;
use rust_decimal::Decimal;
use serde_json::Value;

/// The account of one attempt, closed on every exit.
#[derive(Clone, Debug, PartialEq)]
pub struct VendorAccount {
    /// The model that answered, as the vendor names it.
    pub served_model: Option<String>,
    /// The vendor's id of the request.
    pub vendor_request_id: Option<String>,
    /// The vendor's counts as they came, merged by field.
    pub usage: Option<Value>,
    /// The same by class of token. If the vendor gave no complete counts, it is the estimate that the bill
    /// rests on; `None` if the counts contradict each other, or nothing was answered.
    pub tokens: Option<Usage>,
    /// The price of it.
    pub bill: Bill,
    /// What the client did not ask for and the vendor's dialect needs: parameter and value.
    pub injected: Vec<(&'static str, Value)>,
}

/// The dollars that a vendor charges for an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bill {
    /// US dollars; `None` is unknown, not free.
    pub usd: Option<Decimal>,
    /// Where the number comes from.
    pub basis: BillBasis,
    /// Why the basis is not `Measured`, or what else to know about the number.
    pub why: Option<String>,
}

/// Where a bill comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BillBasis {
    /// The vendor's own counts, or nothing was sent.
    Measured,
    /// The stream ended before the vendor's counts were complete.
    Estimated,
    /// There is no price, or there are no counts.
    Unknown,
}
