//! The two files of an adapter, as written by PEFT's `save_pretrained`.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    ops::Range,
    path::{Path, PathBuf},
};

use farthing_scheduler::AdapterId;
use safetensors::{Dtype, SafeTensors, tensor::Metadata};
use sha2::{Digest, Sha256};

use crate::{
    ModelError,
    checkpoint::FloatType,
    open_regular_file, read_regular_file,
    vision_names::{is_for_images, text_name},
};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
/// Limit on the size of the config.
const MAX_CONFIG_BYTES: u64 = 4 << 20;
/// Limit on the size of the weights: rank 256 on all layers of an 8B model in f32 has 2.7 GB.
const MAX_WEIGHTS_BYTES: u64 = 4 << 30;
/// Limit on the header of the weights. An adapter of all layers of a 70B model has about 200 KB.
const MAX_HEADER_BYTES: u64 = 16 << 20;
/// PEFT's prefix of module names.
const PREFIX: &str = "base_model.model.";

/// The bytes of `adapter_config.json` and `adapter_model.safetensors`, with the position of each
/// tensor.
pub(super) struct AdapterFiles {
    directory: PathBuf,
    config: Vec<u8>,
    weights: Vec<u8>,
    /// The tensors that were not taken yet, by name without PEFT's prefix.
    tensors: BTreeMap<String, StoredTensor>,
}

/// A tensor in the file.
#[derive(Clone, Debug)]
pub(super) struct StoredTensor {
    pub shape: Vec<usize>,
    float_type: FloatType,
    bytes: Range<usize>,
}

impl AdapterFiles {
    /// Reads both files and checks that the weights are complete.
    pub(super) fn read(directory: &Path) -> Result<Self, ModelError> {
        let config = read(&directory.join(CONFIG), MAX_CONFIG_BYTES)?;
        let weights = read_weights(directory)?;
        let mut files = Self {
            directory: directory.to_owned(),
            config,
            weights,
            tensors: BTreeMap::new(),
        };
        files.tensors = files.locate().map_err(|reason| files.refused(reason))?;
        Ok(files)
    }

    pub(super) fn config(&self) -> &[u8] {
        &self.config
    }

    /// The hash of both files, which identifies the adapter's content.
    pub(super) fn id(&self) -> AdapterId {
        let mut hash = Sha256::new();
        hash.update((self.config.len() as u64).to_le_bytes());
        hash.update(&self.config);
        hash.update(&self.weights);
        AdapterId(hash.finalize().into())
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.config.len() + self.weights.len()
    }

    /// The tensors that were not taken yet.
    pub(super) fn tensors(&self) -> &BTreeMap<String, StoredTensor> {
        &self.tensors
    }

    /// Takes a tensor that the config requires.
    pub(super) fn take(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        match self.take_if_present(name, shape)? {
            Some(values) => Ok(values),
            None => Err(self.refused(format!(
                "{WEIGHTS} has no tensor {PREFIX}{name}, which {CONFIG} calls for: the adapter was \
                 saved incompletely, or one of the two files was changed"
            ))),
        }
    }

    /// Takes a tensor as f32, row by row; `None` if the file does not have it.
    pub(super) fn take_if_present(
        &mut self,
        name: &str,
        shape: &[usize],
    ) -> Result<Option<Vec<f32>>, ModelError> {
        let Some(tensor) = self.tensors.remove(name) else {
            return Ok(None);
        };
        if tensor.shape != shape {
            return Err(ModelError::Shape {
                path: self.directory.join(WEIGHTS),
                tensor: format!("{PREFIX}{name}"),
                expected: shape.to_vec(),
                found: tensor.shape,
            });
        }
        let mut values = Vec::with_capacity(shape.iter().product());
        tensor
            .float_type
            .append(&self.weights[tensor.bytes], &mut values);
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(Some(values)),
            Some(index) => Err(self.refused(format!(
                "tensor {PREFIX}{name} has {} as its element {index}: its training diverged, or \
                 the file is damaged",
                values[index]
            ))),
        }
    }

    /// Leaves out what only images need.
    pub(super) fn skip_images(&mut self) {
        self.tensors.retain(|name, _| !is_for_images(name));
    }

    /// Rejects tensors that were not taken: they would change the answers.
    pub(super) fn expect_all_taken(&self) -> Result<(), ModelError> {
        match self.tensors.keys().next() {
            None => Ok(()),
            Some(name) => Err(self.refused(format!(
                "tensor {PREFIX}{name} has no place by {CONFIG} (target_modules and what narrows \
                 it, modules_to_save) in a model of this kind and size"
            ))),
        }
    }

    pub(super) fn refused(&self, reason: String) -> ModelError {
        refused(&self.directory, reason)
    }

    fn locate(&self) -> Result<BTreeMap<String, StoredTensor>, String> {
        let broken = |e| format!("{WEIGHTS} is truncated or not a safetensors file: {e}");
        SafeTensors::deserialize(&self.weights).map_err(broken)?;
        let (header, metadata) = SafeTensors::read_metadata(&self.weights).map_err(broken)?;
        let data = header + 8;
        let locate = |(name, info): (String, &safetensors::tensor::TensorInfo)| {
            let float_type = match info.dtype {
                Dtype::F32 => FloatType::F32,
                Dtype::F16 => FloatType::F16,
                Dtype::BF16 => FloatType::Bf16,
                other => {
                    return Err(format!(
                        "tensor {name} is stored as {other}: save the adapter in F32, F16 or BF16"
                    ));
                }
            };
            let Some(own) = name.strip_prefix(PREFIX) else {
                return Err(format!(
                    "tensor {name} is not named as PEFT names an adapter's: {PREFIX}…"
                ));
            };
            let (start, end) = info.data_offsets;
            let tensor = StoredTensor {
                shape: info.shape.clone(),
                float_type,
                bytes: data + start..data + end,
            };
            Ok((text_name(own), tensor))
        };
        metadata.tensors().into_iter().map(locate).collect()
    }
}

/// The elements of all tensors, from the header of the weights. The tensors themselves are not read.
pub(super) fn count_elements(directory: &Path) -> Result<usize, ModelError> {
    let path = directory.join(WEIGHTS);
    let unreadable = |source| ModelError::Read {
        path: path.clone(),
        source,
    };
    let mut file = match open_regular_file(&path) {
        Ok(file) => file,
        // The reason is the one that reading gives.
        Err(_) => return read_weights(directory).map(|_| 0),
    };
    let size_bytes = file.metadata().map_err(unreadable)?.len();
    let (header, metadata) = read_header(&mut file, size_bytes)
        .map_err(unreadable)?
        .map_err(|reason| refused(directory, format!("{WEIGHTS} {reason}")))?;
    let needed = (header as u64).saturating_add(metadata.data_len() as u64);
    if needed != size_bytes {
        let reason =
            format!("{WEIGHTS} has {size_bytes} bytes where its header calls for {needed}");
        return Err(refused(directory, reason));
    }
    let infos = metadata.tensors();
    let elements = infos
        .values()
        .map(|info| info.shape.iter().product::<usize>());
    Ok(elements.fold(0, usize::saturating_add))
}

/// The header, and where the tensors begin.
fn read_header(
    file: &mut File,
    size_bytes: u64,
) -> io::Result<Result<(usize, Metadata), &'static str>> {
    let mut length = [0; 8];
    if size_bytes < length.len() as u64 {
        return Ok(Err("is truncated or not a safetensors file"));
    }
    file.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER_BYTES || length > size_bytes - 8 {
        return Ok(Err("is truncated or not a safetensors file"));
    }
    let mut header = vec![0; length as usize];
    file.read_exact(&mut header)?;
    Ok(match serde_json::from_slice(&header) {
        Ok(metadata) => Ok((header.len() + 8, metadata)),
        Err(_) => Err("has an invalid header"),
    })
}

/// An error for an adapter that cannot be served exactly.
pub(super) fn refused(directory: &Path, reason: String) -> ModelError {
    ModelError::Adapter {
        path: directory.to_owned(),
        reason,
    }
}

fn read_weights(directory: &Path) -> Result<Vec<u8>, ModelError> {
    match read(&directory.join(WEIGHTS), MAX_WEIGHTS_BYTES) {
        Err(ModelError::Read { source, .. })
            if source.kind() == io::ErrorKind::NotFound
                && directory.join("adapter_model.bin").exists() =>
        {
            Err(refused(
                directory,
                format!(
                    "adapter_model.bin is a pickle, which may run code when it is read: save the \
                     adapter again as {WEIGHTS}, as PEFT does by default"
                ),
            ))
        }
        read => read,
    }
}

fn read(path: &Path, max_bytes: u64) -> Result<Vec<u8>, ModelError> {
    read_regular_file(path, max_bytes).map_err(|source| ModelError::Read {
        path: path.to_owned(),
        source,
    })
}
