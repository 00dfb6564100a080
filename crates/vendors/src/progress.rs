//! How far a stream is.

/// Whether more of a stream is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It is.
    More,
    /// The end marker was read.
    End,
}
