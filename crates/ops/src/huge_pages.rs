//! Buffers in huge pages of 2 MiB, for memory that every step reads from end to end. A processor
//! then looks up one page instead of 512, and its prefetcher does not stop every 4 KiB.

/// Smaller buffers contain no whole huge page, or hardly any.
#[cfg(target_os = "linux")]
const LEAST_BYTES: usize = 8 << 20;

/// An empty vector with room for `len` values, in huge pages if the system provides them.
pub(crate) fn with_room<T>(len: usize) -> Vec<T> {
    let values = Vec::with_capacity(len);
    // Before the first write, which decides the page size.
    advise(&values);
    values
}

/// A vector of `len` times `value`, in huge pages if the system provides them.
pub(crate) fn filled<T: Copy>(value: T, len: usize) -> Vec<T> {
    let mut values = with_room(len);
    values.resize(len, value);
    values
}

#[cfg(target_os = "linux")]
fn advise<T>(values: &Vec<T>) {
    let bytes = values.capacity() * size_of::<T>();
    if bytes < LEAST_BYTES {
        return;
    }
    const PAGE: usize = 4096;
    let skipped = values.as_ptr().addr().next_multiple_of(PAGE) - values.as_ptr().addr();
    let start = values.as_ptr().cast::<u8>().wrapping_add(skipped);
    let len = (bytes - skipped) / PAGE * PAGE;
    // SAFETY: the range lies inside the vector's own memory, and the advice changes no value. A
    // system that rejects it uses smaller pages, which is no error.
    unsafe { libc::madvise(start.cast_mut().cast(), len, libc::MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn advise<T>(_: &Vec<T>) {}

/// Returns freed memory to the system. glibc keeps what other threads allocated.
pub(crate) fn return_free_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the call changes no memory that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}
