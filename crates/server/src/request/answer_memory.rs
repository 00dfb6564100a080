//! A limit on the answers that are collected before they are sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::http::error::ApiError;

/// What one answer may hold in memory.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// What all answers together may hold.
const MAX_TOTAL_BYTES: usize = 512 << 20;

/// Limits what whole answers hold, until their last byte is sent. Cheap to clone.
///
/// An answer may hold at most as much as is still free. So a few large answers leave room for many small
/// ones, and only large answers are refused.
#[derive(Clone, Default)]
pub(crate) struct AnswerMemory {
    used: Arc<AtomicUsize>,
}

/// What one answer holds.
pub(crate) struct HeldAnswer {
    memory: AnswerMemory,
    bytes: usize,
}

impl AnswerMemory {
    pub(crate) fn open(&self) -> HeldAnswer {
        HeldAnswer {
            memory: self.clone(),
            bytes: 0,
        }
    }
}

impl HeldAnswer {
    /// Counts more bytes.
    ///
    /// # Errors
    /// The answer is too large.
    pub(crate) fn add(&mut self, bytes: usize) -> Result<(), ApiError> {
        self.bytes += bytes;
        let used = self.memory.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if self.bytes > MAX_ANSWER_BYTES {
            return Err(ApiError::AnswerTooLarge {
                limit: MAX_ANSWER_BYTES,
            });
        }
        if self.bytes > MAX_TOTAL_BYTES.saturating_sub(used) {
            return Err(ApiError::TooManyAnswers);
        }
        Ok(())
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for HeldAnswer {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
