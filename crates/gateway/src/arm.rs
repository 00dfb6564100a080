//! One of the models that a route may use.

/// An arm of a route.
#[derive(Clone, Debug, PartialEq)]
pub struct Arm {
    /// Its name within the route.
    pub name: String,
    /// Who answers.
    pub target: Target,
    /// Its share of the units, relative to the weights of the other arms. 0 gets none by assignment: only
    /// rules, a fallback or a shadow use it.
    pub weight: f64,
}

/// Who answers the requests of an arm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A model or an adapter of this server.
    Own {
        /// Its name in the API.
        model: String,
    },
    /// A model of a vendor.
    Vendor {
        /// The vendor's name in the file.
        vendor: String,
        /// The model's name at the vendor.
        model: String,
    },
}

impl Arm {
    /// Whether this server computes the answer.
    pub fn is_own(&self) -> bool {
        matches!(self.target, Target::Own { .. })
    }
}
