//! Weights in safetensors files, single or sharded.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    path::{Component, Path},
};

use half::bf16;
use safetensors::{
    Dtype,
    tensor::{Metadata, TensorInfo},
};

use super::{float_type::FloatType, read_json, rotary_buffer, weight_file::WeightFile};
use crate::{
    ModelConfig, ModelError,
    vision_names::{is_for_images, text_name},
};

const EMBEDDING: &str = "model.embed_tokens.weight";
const LM_HEAD: &str = "lm_head.weight";

/// Small enough to stay in the processor's cache between reading and converting.
const PIECE_BYTES: usize = 256 << 10;

/// The limit of the safetensors library.
const LARGEST_HEADER_BYTES: u64 = 100_000_000;

/// The files of a checkpoint and the positions of their tensors.
#[derive(Debug)]
pub(super) struct Shards {
    files: Vec<WeightFile>,
    tensors: HashMap<String, StoredTensor>,
}

#[derive(Debug)]
struct StoredTensor {
    file: usize,
    offset: u64,
    float_type: FloatType,
}

impl Shards {
    /// Opens `model.safetensors`, or the shards that `model.safetensors.index.json` lists, and
    /// checks every tensor against the configuration. Where the two disagree on whether the output
    /// layer is the embedding, the returned configuration is the file's. Each warning is one line.
    pub(super) fn open(
        directory: &Path,
        mut config: ModelConfig,
    ) -> Result<(ModelConfig, Self, Vec<String>), ModelError> {
        let mut files = Vec::new();
        let mut headers = Vec::new();
        for name in shard_names(directory)? {
            let file = WeightFile::open(&directory.join(name))?;
            headers.push(Header::read(&file, config.has_vision)?);
            files.push(file);
        }
        refuse_stored_twice(&files, &headers)?;
        let stores = |name| headers.iter().any(|header| header.infos.contains_key(name));
        if config.has_vision && !stores(LM_HEAD) {
            // transformers ties them in such a model, unless its config says otherwise.
            config.tie_word_embeddings = true;
        }
        let is_said_to_be_tied = config.tie_word_embeddings;
        if is_said_to_be_tied && stores(EMBEDDING) && stores(LM_HEAD) {
            config.tie_word_embeddings = false;
        }
        let tensors = locate(directory, &files, &headers, &config)?;
        for header in &headers {
            refuse_unused(header, &config, &tensors)?;
        }
        let mut shards = Self { files, tensors };
        let mut warnings = Vec::new();
        if is_said_to_be_tied && !config.tie_word_embeddings {
            if shards.has_equal_head(&config)? {
                // A copy of the embedding, which need not be in memory twice.
                config.tie_word_embeddings = true;
                shards.tensors.remove(LM_HEAD);
            } else {
                warnings.push(format!(
                    "config.json has `tie_word_embeddings`: true, but the file has another \
                     `{LM_HEAD}` than its embedding: the file's is used, as transformers 5 does"
                ));
            }
        }
        let contradictions = shards.files.iter().zip(&headers).map(|(file, header)| {
            for (name, info) in &header.infos {
                if rotary_buffer::is_one(name) {
                    let stored = header.read_small(file, name, info)?;
                    let contradiction = rotary_buffer::contradiction(name, &stored, &config.rope);
                    if contradiction.is_some() {
                        return Ok(contradiction);
                    }
                }
            }
            Ok(None)
        });
        // All layers store the same ones, so the first warning is enough.
        let contradictions = contradictions.collect::<Result<Vec<_>, ModelError>>()?;
        warnings.extend(contradictions.into_iter().flatten().next());
        Ok((config, shards, warnings))
    }

    /// Whether the output layer has the values of the embedding.
    fn has_equal_head(&self, config: &ModelConfig) -> Result<bool, ModelError> {
        const ROWS: usize = 256;
        let (height, width) = (config.vocab_size, config.hidden_size);
        let (mut embedding, mut head) = (Vec::new(), Vec::new());
        for start in (0..height).step_by(ROWS) {
            let rows = start..height.min(start + ROWS);
            embedding.clear();
            head.clear();
            self.read_rows(EMBEDDING, rows.clone(), width, &mut embedding)?;
            self.read_rows(LM_HEAD, rows, width, &mut head)?;
            if embedding != head {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) fn is_stored_as_bf16(&self, name: &str) -> bool {
        let tensor = self.tensors.get(name);
        tensor.is_some_and(|tensor| tensor.float_type == FloatType::Bf16)
    }

    pub(super) fn read_rows(
        &self,
        name: &str,
        rows: Range<usize>,
        width: usize,
        out: &mut Vec<f32>,
    ) -> Result<(), ModelError> {
        self.read_pieces(name, rows, width, |float_type, bytes| {
            float_type.append(bytes, out);
        })
    }

    /// Reads rows of a tensor that is stored as bf16.
    pub(super) fn read_bf16_rows(
        &self,
        name: &str,
        rows: Range<usize>,
        width: usize,
        out: &mut Vec<bf16>,
    ) -> Result<(), ModelError> {
        self.read_pieces(name, rows, width, |_, bytes| {
            let (elements, _) = bytes.as_chunks::<2>();
            out.extend(elements.iter().map(|element| bf16::from_le_bytes(*element)));
        })
    }

    fn read_pieces(
        &self,
        name: &str,
        rows: Range<usize>,
        width: usize,
        mut append: impl FnMut(FloatType, &[u8]),
    ) -> Result<(), ModelError> {
        let Some(tensor) = self.tensors.get(name) else {
            return Err(ModelError::UnknownTensor(name.to_owned()));
        };
        let row_bytes = (width * tensor.float_type.size_bytes()) as u64;
        let start = tensor.offset + rows.start as u64 * row_bytes;
        let end = tensor.offset + rows.end as u64 * row_bytes;
        self.files[tensor.file].read_pieces(start..end, PIECE_BYTES, |bytes| {
            append(tensor.float_type, bytes);
            Ok(())
        })
    }
}

/// Finds every tensor of the model and checks its shape and type.
fn locate(
    directory: &Path,
    files: &[WeightFile],
    headers: &[Header],
    config: &ModelConfig,
) -> Result<HashMap<String, StoredTensor>, ModelError> {
    let find = |name: &str| {
        headers
            .iter()
            .enumerate()
            .find_map(|(file, header)| Some((file, header.infos.get(name)?)))
    };
    let mut tensors = HashMap::new();
    for (name, expected) in config.tensor_shapes() {
        let mut found = find(&name);
        if found.is_none() && name == EMBEDDING && config.tie_word_embeddings {
            // Of a tied pair a file may keep either one.
            found = find(LM_HEAD);
        }
        let Some((file, info)) = found else {
            return Err(ModelError::MissingTensor {
                path: directory.to_owned(),
                tensor: name,
            });
        };
        if info.shape != expected {
            return Err(ModelError::Shape {
                path: files[file].path().to_owned(),
                tensor: name,
                expected,
                found: info.shape.clone(),
            });
        }
        let float_type = float_type(&files[file], &name, info.dtype)?;
        let offset = headers[file].data_start + info.data_offsets.0 as u64;
        tensors.insert(
            name,
            StoredTensor {
                file,
                offset,
                float_type,
            },
        );
    }
    Ok(tensors)
}

/// Rejects a tensor that several shards have: readers differ in which of them they take.
fn refuse_stored_twice(files: &[WeightFile], headers: &[Header]) -> Result<(), ModelError> {
    let mut first_of = BTreeMap::new();
    for (file, header) in files.iter().zip(headers) {
        for name in header.infos.keys() {
            if let Some(first) = first_of.insert(name, file.path()) {
                return Err(file.malformed(format!(
                    "has tensor `{name}`, which is also in {}: remove the shard that does not \
                     belong to the model",
                    first.display()
                )));
            }
        }
    }
    Ok(())
}

/// Names of the weight files in a directory.
fn shard_names(directory: &Path) -> Result<Vec<String>, ModelError> {
    let index_path = directory.join("model.safetensors.index.json");
    if !index_path.exists() {
        let whole = "model.safetensors";
        if directory.join(whole).exists() {
            return Ok(vec![whole.to_owned()]);
        }
        return Err(ModelError::Malformed {
            path: directory.to_owned(),
            reason: "holds neither model.safetensors nor model.safetensors.index.json; other \
                     formats than safetensors and GGUF are not read"
                .to_owned(),
        });
    }
    let malformed = |reason| ModelError::Malformed {
        path: index_path.clone(),
        reason,
    };
    let index = read_json(&index_path)?;
    let Some(map) = index.get("weight_map").and_then(|map| map.as_object()) else {
        return Err(malformed("has no object `weight_map`".to_owned()));
    };
    let mut names: Vec<String> = Vec::new();
    for (tensor, file) in map {
        let Some(file) = file.as_str() else {
            return Err(malformed(format!(
                "`weight_map` gives {file} for tensor `{tensor}`"
            )));
        };
        let mut components = Path::new(file).components();
        let (Some(Component::Normal(_)), None) = (components.next(), components.next()) else {
            return Err(malformed(format!(
                "points to `{file}`, which is not a plain file name: shards must lie beside the \
                 index"
            )));
        };
        if !names.iter().any(|name| name == file) {
            names.push(file.to_owned());
        }
    }
    Ok(names)
}

/// The header of a safetensors file.
struct Header {
    /// By the names of a text model.
    infos: BTreeMap<String, TensorInfo>,
    data_start: u64,
}

impl Header {
    fn read(file: &WeightFile, has_vision: bool) -> Result<Self, ModelError> {
        let truncated = |needs: u64| {
            file.malformed(format!(
                "is {} bytes long where its header calls for {needs}: the download is incomplete \
                 or this is not a safetensors file",
                file.size_bytes()
            ))
        };
        const LENGTH_BYTES: u64 = 8;
        if file.size_bytes() < LENGTH_BYTES {
            return Err(truncated(LENGTH_BYTES));
        }
        let mut length = [0; LENGTH_BYTES as usize];
        file.read_at(&mut length, 0)?;
        let length = u64::from_le_bytes(length);
        if length > LARGEST_HEADER_BYTES {
            return Err(file.malformed(format!(
                "claims a header of {length} bytes: this is not a safetensors file"
            )));
        }
        let data_start = LENGTH_BYTES + length;
        if data_start > file.size_bytes() {
            return Err(truncated(data_start));
        }
        let mut header = vec![0; length as usize];
        file.read_at(&mut header, LENGTH_BYTES)?;
        let metadata: Metadata = serde_json::from_slice(&header)
            .map_err(|error| file.malformed(format!("has an invalid header: {error}")))?;
        // The library has checked that the ranges of the tensors are contiguous and do not
        // overflow.
        let end = data_start.saturating_add(metadata.data_len() as u64);
        if end != file.size_bytes() {
            return Err(truncated(end));
        }
        let mut infos = BTreeMap::new();
        for (name, info) in metadata.tensors() {
            if has_vision && is_for_images(&name) {
                continue;
            }
            let own = if has_vision { text_name(&name) } else { name };
            if infos.insert(own.clone(), info.clone()).is_some() {
                return Err(file.malformed(format!("has tensor `{own}` under two names")));
            }
        }
        Ok(Self { infos, data_start })
    }

    /// All values of a tensor. Empty if it is larger than a small one.
    fn read_small(
        &self,
        file: &WeightFile,
        name: &str,
        info: &TensorInfo,
    ) -> Result<Vec<f32>, ModelError> {
        const MAX_BYTES: usize = 64 << 10;
        let float_type = float_type(file, name, info.dtype)?;
        let (start, end) = info.data_offsets;
        let mut values = Vec::new();
        if end - start <= MAX_BYTES {
            let mut bytes = vec![0; end - start];
            file.read_at(&mut bytes, self.data_start + start as u64)?;
            float_type.append(&bytes, &mut values);
        }
        Ok(values)
    }
}

fn float_type(file: &WeightFile, name: &str, dtype: Dtype) -> Result<FloatType, ModelError> {
    match dtype {
        Dtype::F32 => Ok(FloatType::F32),
        Dtype::F16 => Ok(FloatType::F16),
        Dtype::BF16 => Ok(FloatType::Bf16),
        other => Err(ModelError::Unsupported(format!(
            "tensor `{name}` in {} is stored as {other}; Farthing reads F32, F16 and BF16, convert \
             the checkpoint",
            file.path().display()
        ))),
    }
}

/// Rejects a tensor that the model does not use: the checkpoint probably belongs to a different
/// architecture.
fn refuse_unused(
    header: &Header,
    config: &ModelConfig,
    used: &HashMap<String, StoredTensor>,
) -> Result<(), ModelError> {
    for name in header.infos.keys() {
        // A tied output layer that is here without the embedding is the embedding.
        let harmless =
            rotary_buffer::is_one(name) || (name == LM_HEAD && config.tie_word_embeddings);
        if !used.contains_key(name) && !harmless {
            return Err(ModelError::Unsupported(format!(
                "tensor `{name}`, which has no place in the model of this config; ignoring it \
                 would change the answers"
            )));
        }
    }
    Ok(())
}
