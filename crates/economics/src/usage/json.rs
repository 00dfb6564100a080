//! Usage as reported by vendors. Whatever has a price that is not known here is refused by name.

mod counts;
mod names;
mod response;

use super::{CacheCounting, Usage, UsageError};
use crate::json_object::JsonObject;
use counts::Counts;

/// Why a JSON object is not a usage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsageJsonError {
    /// The object has an unexpected form.
    #[error("usage: {0}")]
    Shape(String),
    /// The counts contradict each other.
    #[error("usage: {0}")]
    Counts(#[from] UsageError),
}

/// The usage of a response, with what else the response says about its price.
#[derive(Clone, Debug)]
pub struct ReportedUsage {
    /// The model that answered, if it is a whole response.
    pub model: Option<String>,
    /// How its form counts cached tokens, if it shows.
    pub counting: Option<CacheCounting>,
    /// Whether it was answered in a batch.
    pub is_batch: bool,
    counts: Counts,
}

impl ReportedUsage {
    /// Reads a vendor's response, or the `usage` object in it.
    ///
    /// # Errors
    /// It is invalid, or contains something whose price is not known here.
    pub fn from_json(text: &str) -> Result<Self, UsageJsonError> {
        let object = JsonObject::read(text).map_err(UsageJsonError::Shape)?;
        response::read(object).map_err(UsageJsonError::Shape)
    }

    /// Whether any tokens were read from a cache or written to it. Without, both ways of counting are
    /// the same.
    pub fn has_cache(&self) -> bool {
        self.counts.has_cache()
    }

    /// The tokens by class.
    ///
    /// # Errors
    /// The counts contradict each other.
    pub fn usage(&self, counting: CacheCounting) -> Result<Usage, UsageJsonError> {
        let usage = self.counts.usage(counting);
        Ok(usage.map_err(UsageJsonError::Shape)?.counted(counting)?)
    }
}

impl Usage {
    /// Reads a vendor's response, or the `usage` object in it. Missing counts are zero.
    ///
    /// # Errors
    /// It is invalid, contains something whose price is not known here, or its counts contradict
    /// each other.
    pub fn from_json(text: &str, counting: CacheCounting) -> Result<Self, UsageJsonError> {
        ReportedUsage::from_json(text)?.usage(counting)
    }
}
