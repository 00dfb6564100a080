//! What texts take in memory.

/// What an allocation takes besides its content, at most: allocators round up and keep notes.
const ALLOCATION_BYTES: usize = 32;

/// About how many bytes a text or a list of `length` bytes takes outside of its struct.
pub(crate) fn allocated_bytes(length: usize) -> usize {
    length + ALLOCATION_BYTES
}
