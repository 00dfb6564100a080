//! Prefetching memory that the next job reads.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of a cache line.
const LINE: usize = 64;

/// Bytes that a thread prefetches between two checks for new work.
const PIECE: usize = 8 * LINE;

/// Maximum number of bytes per thread: about half of a second-level cache.
const MOST: usize = 512 << 10;

/// Memory that the next job reads. It is divided into equal parts, one per thread; the first part is the
/// calling thread's. The memory may be freed at any time: a prefetch of any address is allowed.
#[derive(Default)]
pub(super) struct ReadAhead {
    start: AtomicUsize,
    bytes: AtomicUsize,
}

/// The progress of one thread.
#[derive(Clone, Copy, Default)]
struct Reader {
    start: usize,
    done: usize,
}

thread_local! {
    static READER: Cell<Reader> = const { Cell::new(Reader { start: 0, done: 0 }) };
}

impl ReadAhead {
    pub(super) fn set<T>(&self, memory: &[T]) {
        self.bytes.store(size_of_val(memory), Ordering::Relaxed);
        self.start.store(memory.as_ptr().addr(), Ordering::Relaxed);
    }

    /// Prefetches the next piece of the part of `thread`, of `threads`. Returns false if none is left.
    #[inline]
    pub(super) fn read(&self, thread: usize, threads: usize) -> bool {
        let mut reader = READER.get();
        let Some(first) = reader.next(self, thread, threads) else {
            return false;
        };
        READER.set(reader);
        for line in 0..PIECE / LINE {
            prefetch(first + line * LINE);
        }
        true
    }
}

impl Reader {
    /// The address of the next piece.
    #[inline]
    fn next(&mut self, ahead: &ReadAhead, thread: usize, threads: usize) -> Option<usize> {
        let start = ahead.start.load(Ordering::Relaxed);
        if start != self.start {
            *self = Self { start, done: 0 };
        }
        let part = ahead.bytes.load(Ordering::Relaxed) / threads;
        if self.done >= part.min(MOST) {
            return None;
        }
        let first = start + thread * part + self.done;
        self.done += PIECE;
        Some(first)
    }
}

#[inline]
fn prefetch(address: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every such processor has the instruction, and it takes any address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(std::ptr::without_provenance(address));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("prfm pldl2keep, [{0}]", in(reg) address, options(nostack, preserves_flags));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(reader: &mut Reader, ahead: &ReadAhead, thread: usize) -> Vec<usize> {
        std::iter::from_fn(|| reader.next(ahead, thread, 3)).collect()
    }

    #[test]
    fn each_thread_reads_its_part_once() {
        let (ahead, memory) = (ReadAhead::default(), vec![0_u32; 3 * PIECE]);
        let start = memory.as_ptr().addr();
        ahead.set(&memory);
        for thread in 0..3 {
            let mut reader = Reader::default();
            let part = start + thread * 4 * PIECE;
            let expected: Vec<_> = (0..4).map(|piece| part + piece * PIECE).collect();
            assert_eq!(pieces(&mut reader, &ahead, thread), expected);
            assert!(pieces(&mut reader, &ahead, thread).is_empty());
            ahead.set(&memory[PIECE..]);
            assert_eq!(pieces(&mut reader, &ahead, 0)[0], start + 4 * PIECE);
            ahead.set(&memory);
        }
    }

    #[test]
    fn no_more_than_a_cache_holds_is_read() {
        let (ahead, memory) = (ReadAhead::default(), vec![0_u8; 4 * 3 * MOST]);
        ahead.set(&memory);
        assert_eq!(
            pieces(&mut Reader::default(), &ahead, 1).len(),
            MOST / PIECE
        );
    }
}
