//! Errors of reading and computing a model.

use std::{io, ops::Range, path::PathBuf};

use farthing_ops::is_out_of_memory;

/// An error of this crate. Each message says what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The path of the file.
        path: PathBuf,
        /// The I/O error.
        source: io::Error,
    },
    /// A file has invalid content: it is truncated, corrupt or in another format.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// The path of the file.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A field of the model configuration is missing or invalid.
    #[error("model config: {0}")]
    Config(String),
    /// The model needs something that is not supported. Ignoring it would change the answers.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// A tensor of the configuration is missing in the checkpoint.
    #[error(
        "{} has no tensor `{tensor}`, which its config calls for: the download may be incomplete",
        path.display()
    )]
    MissingTensor {
        /// The path of the checkpoint.
        path: PathBuf,
        /// Hugging Face's name of the tensor.
        tensor: String,
    },
    /// A tensor has a shape other than the configuration requires.
    #[error(
        "{}: tensor `{tensor}` has shape {found:?} where the config calls for {expected:?}",
        path.display()
    )]
    Shape {
        /// The path of the file.
        path: PathBuf,
        /// Hugging Face's name of the tensor.
        tensor: String,
        /// The required shape: `[rows, columns]` or `[columns]`.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// The model has no tensor of this name.
    #[error("the model has no tensor `{0}`")]
    UnknownTensor(String),
    /// The requested rows are beyond the end of the tensor.
    #[error("rows {rows:?} of tensor `{tensor}`, which has {height}")]
    RowsOutOfRange {
        /// Hugging Face's name of the tensor.
        tensor: String,
        /// The requested rows.
        rows: Range<usize>,
        /// Number of rows in the tensor.
        height: usize,
    },
    /// An adapter that cannot be served exactly as PEFT computes it.
    #[error("adapter {}: {reason}", path.display())]
    Adapter {
        /// The adapter's directory.
        path: PathBuf,
        /// What is not supported.
        reason: String,
    },
    /// A row names an adapter that is not loaded.
    #[error("the adapter of a sequence is not loaded")]
    UnknownAdapter,
    /// A batch names more adapters than the device has slots.
    #[error("a batch needs more than the {slots} adapter slots of the device")]
    TooManyAdapters {
        /// Number of slots.
        slots: usize,
    },
    /// The KV cache is too small for one sequence of maximum length.
    #[error(
        "the KV cache would hold {tokens} tokens, less than one sequence of {max_model_len}: \
         lower max_model_len, or give the cache {needed_bytes} bytes"
    )]
    KvCacheTooSmall {
        /// Tokens that fit into the cache.
        tokens: usize,
        /// Maximum number of tokens of a sequence.
        max_model_len: usize,
        /// Bytes that a sequence of maximum length needs.
        needed_bytes: usize,
    },
    /// The device cannot be used.
    #[error("cannot use {device}: {}", plain(source))]
    Device {
        /// Its name, such as `cuda:0`.
        device: String,
        /// The reason.
        source: candle_core::Error,
    },
    /// The device has failed. No further computation is possible.
    #[error("the device is lost: {0}")]
    DeviceLost(String),
    /// The device has too little memory.
    #[error(
        "the device has too little memory for {what} ({}): lower the KV cache's memory, \
         max_model_len, max_num_batched_tokens or max_num_seqs, or serve fewer adapters or a \
         smaller model",
        plain(source)
    )]
    OutOfMemory {
        /// What was to be allocated.
        what: &'static str,
        /// The device's error.
        source: candle_core::Error,
    },
    /// A tensor operation failed.
    #[error("{}", plain(.0))]
    Tensor(candle_core::Error),
}

impl From<candle_core::Error> for ModelError {
    fn from(error: candle_core::Error) -> Self {
        Self::Tensor(error)
    }
}

/// An error of candle without its backtrace, which is of no use to a caller.
pub(crate) fn plain(error: &candle_core::Error) -> String {
    use candle_core::Error;
    match error {
        Error::WithBacktrace { inner, .. } => plain(inner),
        Error::Context { inner, context } => format!("{context}: {}", plain(inner)),
        Error::WithPath { inner, path } => format!("{}: {}", path.display(), plain(inner)),
        other => other.to_string(),
    }
}

/// Adds what was to be allocated to an out-of-memory error.
pub(crate) fn room_for<T>(
    what: &'static str,
    made: Result<T, ModelError>,
) -> Result<T, ModelError> {
    match made {
        Err(ModelError::Tensor(source)) if is_out_of_memory(&source) => {
            Err(ModelError::OutOfMemory { what, source })
        }
        other => other,
    }
}
