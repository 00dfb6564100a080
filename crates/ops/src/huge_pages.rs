//! Memory that is read from end to end at each step, in pages of 2 MiB: a processor looks up one page
//! instead of 512.

/// Smaller buffers hold no whole huge page, or hardly one.
#[cfg(target_os = "linux")]
const LEAST_BYTES: usize = 8 << 20;

/// A vector of `len` times `value`, in huge pages where the system has them to give.
pub(crate) fn filled<T: Copy>(value: T, len: usize) -> Vec<T> {
    let mut values = Vec::with_capacity(len);
    // Before the first write: what a page is, is decided then.
    advise(&values);
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
    // SAFETY: the range lies inside the vector's own memory, and an advice changes no value. A system
    // that refuses it has smaller pages, which is no error.
    unsafe { libc::madvise(start.cast_mut().cast(), len, libc::MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn advise<T>(_: &Vec<T>) {}
