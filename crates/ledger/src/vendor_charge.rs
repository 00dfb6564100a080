//! What a vendor charges for an attempt.

use std::ops::AddAssign;

use rust_decimal::Decimal;

use crate::bill::Bill;

/// A vendor's charge for an attempt, beside the cost of our own device time.
#[derive(Clone, Debug, PartialEq)]
pub struct VendorCharge {
    /// The vendor.
    pub vendor: String,
    /// The model that served, as the vendor calls it.
    pub model: String,
    /// The usage as the vendor reported it.
    pub usage_json: Option<String>,
    /// The bill in US dollars, at most 9 billion; `None` if it is unknown. It is rounded to 18
    /// decimal places, half to even. A negative or larger one is logged and counts as unknown.
    pub billed_usd: Option<Decimal>,
    /// How the bill is known.
    pub basis: ChargeBasis,
}

/// How a bill is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChargeBasis {
    /// From the vendor's own counts.
    Measured,
    /// From our own counts, because the vendor reported none.
    Estimated,
    /// Not at all, which is not zero. The same holds for any other basis without a bill.
    Unknown,
}

/// Bills of vendors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VendorBills {
    /// The sum of the known bills in US dollars. If some are unknown, the sum is at least this.
    pub usd: Decimal,
    /// Attempts at vendors.
    pub attempts: u64,
    /// Of these, attempts whose bill is estimated.
    pub estimated: u64,
    /// Of these, attempts whose bill is unknown.
    pub unknown: u64,
}

impl ChargeBasis {
    /// All bases.
    pub const ALL: [Self; 3] = [Self::Measured, Self::Estimated, Self::Unknown];

    /// The name in the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Estimated => "estimated",
            Self::Unknown => "unknown",
        }
    }
}

impl VendorCharge {
    /// The bill as it is stored, and its basis.
    pub(crate) fn stored(&self) -> (Option<Bill>, ChargeBasis) {
        let billed = self
            .billed_usd
            .filter(|_| self.basis != ChargeBasis::Unknown);
        let bill = billed.and_then(|usd| {
            let bill = Bill::of_usd(usd);
            if bill.is_none() {
                let (vendor, model) = (&self.vendor, &self.model);
                tracing::error!(vendor, model, %usd, "impossible bill: recorded as unknown");
            }
            bill
        });
        match bill {
            Some(bill) => (Some(bill), self.basis),
            None => (None, ChargeBasis::Unknown),
        }
    }
}

impl AddAssign for VendorBills {
    fn add_assign(&mut self, other: Self) {
        self.usd += other.usd;
        self.attempts += other.attempts;
        self.estimated += other.estimated;
        self.unknown += other.unknown;
    }
}
