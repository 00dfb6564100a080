//! The two files of an adapter, as written by PEFT's `save_pretrained`.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{self, Read},
    ops::Range,
    path::{Path, PathBuf},
};

use farthing_scheduler::AdapterId;
use safetensors::{Dtype, SafeTensors, tensor::Metadata};
use sha2::{Digest, Sha256};

use super::names::{PREFIX, Root, TensorName};
use crate::{
    ModelError, checkpoint::FloatType, open_regular_file, read_regular_file,
    vision_names::is_for_images,
};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
/// Files of other formats, and what to do.
const OTHER_WEIGHTS: [(&str, &str); 3] = [
    (
        "adapter_model.bin",
        "is a pickle, which may run code when it is read: save the adapter again, as PEFT does by \
         default, as",
    ),
    (
        "adapters.safetensors",
        "is MLX's format, whose factors are transposed: convert the adapter to PEFT's, with",
    ),
    (
        "pytorch_lora_weights.safetensors",
        "is the format of diffusers, not of a language model: an adapter has",
    ),
];
/// Limit on the size of the config.
const MAX_CONFIG_BYTES: u64 = 4 << 20;
/// Limit on the size of the weights: rank 256 on all layers of an 8B model in f32 has 2.7 GB.
const MAX_WEIGHTS_BYTES: u64 = 4 << 30;
/// Limit on the header of the weights. An adapter of all layers of a 70B model has about 200 KB.
const MAX_HEADER_BYTES: u64 = 16 << 20;

/// The bytes of `adapter_config.json` and `adapter_model.safetensors`, with the position of each
/// tensor.
pub(super) struct AdapterFiles {
    directory: PathBuf,
    config: Vec<u8>,
    weights: Vec<u8>,
    /// The tensors that were not taken yet, by name without PEFT's prefix.
    tensors: BTreeMap<String, StoredTensor>,
    root: Root,
}

/// A tensor in the file.
#[derive(Clone, Debug)]
pub(super) struct StoredTensor {
    /// Its name in the file.
    written: String,
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
            root: Root::default(),
        };
        (files.tensors, files.root) = files.locate().map_err(|reason| files.refused(reason))?;
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

    /// The name that a module had in the trained model, which the config's patterns mean.
    pub(super) fn trained_name(&self, module: &str) -> String {
        self.root.trained_name(module)
    }

    /// The rows of a tensor that was not taken yet.
    pub(super) fn rows(&self, name: &str) -> Option<usize> {
        self.tensors.get(name)?.shape.first().copied()
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
                tensor: tensor.written,
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
                "tensor {} has {} as its element {index}: its training diverged, or the file is \
                 damaged",
                tensor.written, values[index]
            ))),
        }
    }

    /// Leaves out what only images need.
    pub(super) fn skip_images(&mut self) {
        self.tensors.retain(|name, _| !is_for_images(name));
    }

    /// Rejects tensors that were not taken: they would change the answers.
    pub(super) fn expect_all_taken(&self) -> Result<(), ModelError> {
        match self.tensors.values().next() {
            None => Ok(()),
            Some(StoredTensor { written, .. }) => Err(self.refused(format!(
                "tensor {written} has no place by {CONFIG} (target_modules and what narrows \
                 it, modules_to_save) in a model of this kind and size"
            ))),
        }
    }

    pub(super) fn refused(&self, reason: String) -> ModelError {
        refused(&self.directory, reason)
    }

    /// Finds the tensors, and where the trained model had its decoder.
    fn locate(&self) -> Result<(BTreeMap<String, StoredTensor>, Root), String> {
        let broken = |e| format!("{WEIGHTS} is truncated or not a safetensors file: {e}");
        SafeTensors::deserialize(&self.weights).map_err(broken)?;
        let (header, metadata) = SafeTensors::read_metadata(&self.weights).map_err(broken)?;
        let data = header + 8;
        let mut tensors = BTreeMap::new();
        let (mut root, mut adapter) = (None, None);
        for (written, info) in metadata.tensors() {
            let float_type = match info.dtype {
                Dtype::F32 => FloatType::F32,
                Dtype::F16 => FloatType::F16,
                Dtype::BF16 => FloatType::Bf16,
                other => {
                    return Err(format!(
                        "tensor {written} is stored as {other}: save the adapter in F32, F16 or BF16"
                    ));
                }
            };
            if info.shape.contains(&0) {
                return Err(format!(
                    "tensor {written} is empty: DeepSpeed ZeRO-3 saves such files if the weights \
                     are not gathered first (stage3_gather_16bit_weights_on_model_save)"
                ));
            }
            let Some(name) = TensorName::read(&written) else {
                return Err(format!(
                    "tensor {written} is not named as PEFT names an adapter's: {PREFIX}…"
                ));
            };
            // What only images need says nothing about the text part.
            let names_text = name.root.filter(|_| !is_for_images(&name.name));
            expect_one("modules are named in two ways", &mut root, names_text)?;
            expect_one("there are several adapters", &mut adapter, name.adapter)?;
            let (start, end) = info.data_offsets;
            let tensor = StoredTensor {
                written: written.clone(),
                shape: info.shape.clone(),
                float_type,
                bytes: data + start..data + end,
            };
            if let Some(twin) = tensors.insert(name.name, tensor) {
                return Err(format!(
                    "tensors {} and {written} are two of one weight",
                    twin.written
                ));
            }
        }
        Ok((tensors, root.unwrap_or_default()))
    }
}

/// Keeps the first value, and refuses another one.
fn expect_one<T: PartialEq + fmt::Debug>(
    what: &str,
    known: &mut Option<T>,
    found: Option<T>,
) -> Result<(), String> {
    match (known.as_ref(), found) {
        (Some(known), Some(found)) if *known != found => {
            Err(format!("{what} in {WEIGHTS}: {known:?} and {found:?}"))
        }
        (None, Some(found)) => {
            *known = Some(found);
            Ok(())
        }
        _ => Ok(()),
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
        Err(ModelError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            let other = OTHER_WEIGHTS
                .iter()
                .find(|(name, _)| directory.join(name).exists());
            Err(match other {
                Some((name, reason)) => refused(directory, format!("{name} {reason} {WEIGHTS}")),
                None => ModelError::Read {
                    path: directory.join(WEIGHTS),
                    source,
                },
            })
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
