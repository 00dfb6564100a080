//! What can go wrong between a checkpoint's files and a sampled token.

use std::{io, ops::Range, path::PathBuf};

use farthing_ops::is_out_of_memory;

/// An error of this crate. Every message says what was found and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The operating system refused a read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what its name promises: truncated, garbled or in another format.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A model configuration lacks a field or gives it an impossible value.
    #[error("model config: {0}")]
    Config(String),
    /// The model asks for something that Farthing does not compute; ignoring it would change
    /// the answers.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// The configuration calls for a tensor that no file of the checkpoint holds.
    #[error(
        "{} has no tensor `{tensor}`, which its config calls for: the download may be incomplete",
        path.display()
    )]
    MissingTensor {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor's name in Hugging Face's naming.
        tensor: String,
    },
    /// A tensor does not have the shape that the configuration calls for.
    #[error(
        "{}: tensor `{tensor}` has shape {found:?} where the config calls for {expected:?}",
        path.display()
    )]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor's name in Hugging Face's naming.
        tensor: String,
        /// The shape by the configuration, `[rows, columns]` or `[columns]`.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// A caller asked for a tensor that the model does not have.
    #[error("the model has no tensor `{0}`")]
    UnknownTensor(String),
    /// A caller asked for rows beyond a tensor's end.
    #[error("rows {rows:?} of tensor `{tensor}`, which has {height}")]
    RowsOutOfRange {
        /// The tensor's name in Hugging Face's naming.
        tensor: String,
        /// The rows asked for.
        rows: Range<usize>,
        /// How many there are.
        height: usize,
    },
    /// An adapter that would not be served exactly as PEFT computes it.
    #[error("adapter {}: {reason}", path.display())]
    Adapter {
        /// Its directory.
        path: PathBuf,
        /// What is not supported, by name.
        reason: String,
    },
    /// A row names an adapter that is not loaded.
    #[error("the adapter of a sequence is not loaded")]
    UnknownAdapter,
    /// A batch names more adapters than the device has slots for.
    #[error("a batch of more than {slots} adapters: there are no more slots for them")]
    TooManyAdapters {
        /// Adapters that fit.
        slots: usize,
    },
    /// The KV cache cannot hold one sequence of the longest length.
    #[error(
        "the KV cache would hold {tokens} tokens, less than one sequence of {max_model_len}: \
         lower --max-model-len or give the cache {needed_bytes} bytes"
    )]
    KvCacheTooSmall {
        /// Tokens that fit.
        tokens: usize,
        /// Tokens of the longest sequence.
        max_model_len: usize,
        /// Bytes that the longest sequence needs.
        needed_bytes: usize,
    },
    /// The device cannot be computed on.
    #[error("cannot use {device}: {source}")]
    Device {
        /// Its name, such as `cuda:0`.
        device: String,
        /// What is missing.
        source: candle_core::Error,
    },
    /// The device has stopped working: nothing can be computed on it any more.
    #[error("the device is lost: {0}")]
    DeviceLost(String),
    /// Memory ran out when something was to be put on the device.
    #[error(
        "the device has no room for {what} ({source}): lower --kv-cache-memory, --max-model-len, \
         --max-num-batched-tokens or --max-num-seqs, or serve fewer adapters or a smaller model"
    )]
    OutOfMemory {
        /// What there was no room for.
        what: &'static str,
        /// What the device said.
        source: candle_core::Error,
    },
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// Says what there was no room for, where that is what went wrong.
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
