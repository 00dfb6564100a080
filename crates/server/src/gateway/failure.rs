//! Which failures let another arm try.

use farthing_gateway::FallbackReason;
use farthing_vendors::VendorError;

use crate::http::error::ApiError;

/// Why another arm may try; `None` if the request itself is wrong, or nobody should try.
pub(super) fn fallback_reason(error: &ApiError) -> Option<FallbackReason> {
    Some(match error {
        ApiError::QueueFull { .. } | ApiError::TooManyAnswers => FallbackReason::Overload,
        ApiError::NoContentInTime { .. } => FallbackReason::Timeout,
        ApiError::EngineDead | ApiError::Failed(_) | ApiError::Adapter(_) => FallbackReason::Error,
        ApiError::Invalid(refusal) => match refusal.code {
            Some("context_length_exceeded") => FallbackReason::ContextTooLong,
            Some("unsupported_parameter") => FallbackReason::Unsupported,
            _ => return None,
        },
        ApiError::Vendor(failure) => return vendor_reason(&failure.error),
        _ => return None,
    })
}

fn vendor_reason(error: &VendorError) -> Option<FallbackReason> {
    Some(match error {
        _ if error.is_context_too_long() => FallbackReason::ContextTooLong,
        VendorError::CoolingDown { .. } | VendorError::Busy { .. } => FallbackReason::Overload,
        VendorError::SpendCapReached | VendorError::CostUnknown(_) => FallbackReason::Budget,
        VendorError::Untranslatable { .. } => FallbackReason::Unsupported,
        VendorError::FirstContentTimeout(_)
        | VendorError::IdleTimeout(_)
        | VendorError::TotalTimeout(_) => FallbackReason::Timeout,
        VendorError::Status { status, .. } => match status {
            429 | 503 | 529 => FallbackReason::Overload,
            // The key, the account or the model's name: the operator's, not the caller's.
            401..=404 | 408 | 409 | 500..=599 => FallbackReason::Error,
            _ => return None,
        },
        VendorError::Connect(_)
        | VendorError::InBand { .. }
        | VendorError::Broken(_)
        | VendorError::Truncated
        | VendorError::MissingChoices { .. }
        | VendorError::Malformed { .. } => FallbackReason::Error,
    })
}
