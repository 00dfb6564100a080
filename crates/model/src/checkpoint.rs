//! A model's weights on disk, read a few rows at a time.

mod dummy;
mod float_type;
mod gguf;
mod gguf_tokenizer;
mod rotary_buffer;
mod safetensors;
mod weight_file;

use std::{collections::HashMap, ops::Range, path::Path};

use half::bf16;
use serde_json::Value;

use crate::{ModelConfig, ModelError, RopeScaling, read_regular_file};
pub(crate) use dummy::DummyWeights;
pub(crate) use float_type::FloatType;
use gguf::GgufFile;
pub use gguf_tokenizer::GgufTokenizer;
use safetensors::Shards;

/// The format of the weights; vLLM's `--load-format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoadFormat {
    /// GGUF for a file ending in `.gguf`, safetensors for a directory.
    #[default]
    Auto,
    /// A directory with `config.json` and `model.safetensors` or its shards.
    Safetensors,
    /// One GGUF file.
    Gguf,
    /// Seeded random weights for a configuration, for sizing and benchmarks.
    Dummy,
}

/// The configuration and weights of a model. Tensors have Hugging Face's names in every format.
/// Their presence and shapes were checked when the checkpoint was opened.
///
/// Files are read at positions and never mapped. A call holds a few hundred kilobytes, and several
/// threads may read from one checkpoint.
#[derive(Debug)]
pub struct Checkpoint {
    config: ModelConfig,
    shapes: HashMap<String, Vec<usize>>,
    weights: Weights,
    warnings: Vec<String>,
}

#[derive(Debug)]
enum Weights {
    Safetensors(Shards),
    Gguf(Box<GgufFile>),
    Dummy(DummyWeights),
}

impl Checkpoint {
    /// Opens a directory with `config.json`, or a `.gguf` file. `seed` is used by
    /// [`LoadFormat::Dummy`] only, which reads the configuration and no weights.
    ///
    /// # Errors
    /// A file is missing, truncated or invalid; the configuration is not supported; a tensor is
    /// missing, has the wrong shape, is not used by the model, or has an unsupported type.
    pub fn open(path: &Path, format: LoadFormat, seed: u64) -> Result<Self, ModelError> {
        let is_gguf = path
            .extension()
            .is_some_and(|extension| extension == "gguf");
        match format {
            LoadFormat::Gguf => Self::open_gguf(path),
            LoadFormat::Auto if is_gguf => Self::open_gguf(path),
            LoadFormat::Auto | LoadFormat::Safetensors => Self::open_safetensors(path),
            LoadFormat::Dummy if is_gguf => Ok(Self::dummy(Self::open_gguf(path)?.config, seed)),
            LoadFormat::Dummy => Ok(Self::dummy(read_config(path)?, seed)),
        }
    }

    /// Random weights for a configuration: normal with standard deviation 0.02, norms 1. Row `i` of
    /// a tensor depends only on the seed, the tensor's name and `i`.
    pub fn dummy(config: ModelConfig, seed: u64) -> Self {
        Self::random(config, seed, DummyWeights::STANDARD_DEVIATION)
    }

    /// Like [`Self::dummy`], with another standard deviation.
    pub fn random(config: ModelConfig, seed: u64, standard_deviation: f32) -> Self {
        let weights = DummyWeights::new(seed, standard_deviation);
        Self::new(config, Weights::Dummy(weights))
    }

    fn open_safetensors(directory: &Path) -> Result<Self, ModelError> {
        let (config, shards, warnings) = Shards::open(directory, read_config(directory)?)?;
        let mut checkpoint = Self::new(config, Weights::Safetensors(shards));
        checkpoint.warnings.extend(warnings);
        Ok(checkpoint)
    }

    fn open_gguf(path: &Path) -> Result<Self, ModelError> {
        let (config, file) = GgufFile::open(path)?;
        let warning = config.eos_token_ids.is_empty().then(|| {
            "the GGUF's metadata names no end of sequence (`tokenizer.ggml.eos_token_id`): answers \
             end at their token limit only"
                .to_owned()
        });
        let mut checkpoint = Self::new(config, Weights::Gguf(Box::new(file)));
        checkpoint.warnings.extend(warning);
        Ok(checkpoint)
    }

    fn new(config: ModelConfig, weights: Weights) -> Self {
        Self {
            shapes: config.tensor_shapes().collect(),
            warnings: long_rope_warning(&config).into_iter().collect(),
            config,
            weights,
        }
    }

    /// What an operator should know about the files: where they contradict each other and what was
    /// done about it, a line each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The model's configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Whether the model has this tensor. `lm_head.weight` is absent if embeddings are tied.
    pub fn contains(&self, name: &str) -> bool {
        self.shapes.contains_key(name)
    }

    /// The shape: `[rows, columns]` of a matrix, `[columns]` of a norm.
    pub fn shape(&self, name: &str) -> Result<&[usize], ModelError> {
        match self.shapes.get(name) {
            Some(shape) => Ok(shape),
            None => Err(ModelError::UnknownTensor(name.to_owned())),
        }
    }

    /// Appends rows of a tensor to `out` as f32. A norm has one row.
    pub fn read_rows(
        &self,
        name: &str,
        rows: Range<usize>,
        out: &mut Vec<f32>,
    ) -> Result<(), ModelError> {
        let width = self.width_of_rows(name, &rows)?;
        out.reserve(rows.len() * width);
        match &self.weights {
            Weights::Safetensors(shards) => shards.read_rows(name, rows, width, out),
            Weights::Gguf(file) => file.read_rows(name, rows, width, out),
            Weights::Dummy(weights) => {
                weights.append_rows(name, rows, width, out);
                Ok(())
            }
        }
    }

    /// Whether [`Self::read_bf16_rows`] can read the tensor.
    pub(crate) fn is_stored_as_bf16(&self, name: &str) -> bool {
        match &self.weights {
            Weights::Safetensors(shards) => shards.is_stored_as_bf16(name),
            Weights::Gguf(_) | Weights::Dummy(_) => false,
        }
    }

    /// Appends rows of a tensor that is stored as bf16, without conversion.
    pub(crate) fn read_bf16_rows(
        &self,
        name: &str,
        rows: Range<usize>,
        out: &mut Vec<bf16>,
    ) -> Result<(), ModelError> {
        let width = self.width_of_rows(name, &rows)?;
        out.reserve(rows.len() * width);
        match &self.weights {
            Weights::Safetensors(shards) => shards.read_bf16_rows(name, rows, width, out),
            Weights::Gguf(_) | Weights::Dummy(_) => Err(ModelError::UnknownTensor(name.to_owned())),
        }
    }

    /// The length of these rows, if the tensor has them.
    fn width_of_rows(&self, name: &str, rows: &Range<usize>) -> Result<usize, ModelError> {
        let (height, width) = match *self.shape(name)? {
            [width] => (1, width),
            [height, width] => (height, width),
            _ => return Err(ModelError::UnknownTensor(name.to_owned())),
        };
        if rows.start > rows.end || rows.end > height {
            return Err(ModelError::RowsOutOfRange {
                tensor: name.to_owned(),
                rows: rows.clone(),
                height,
            });
        }
        Ok(width)
    }

    /// The tokenizer and chat template in a GGUF file's metadata; `None` for other formats, which
    /// have separate files.
    pub fn gguf_tokenizer(&self) -> Option<&GgufTokenizer> {
        match &self.weights {
            Weights::Gguf(file) => Some(file.tokenizer()),
            _ => None,
        }
    }
}

/// transformers computes a sequence anew with other factors once it outgrows the original context. No
/// server with a KV cache does.
fn long_rope_warning(config: &ModelConfig) -> Option<String> {
    let RopeScaling::LongRope(long) = &config.rope.scaling else {
        return None;
    };
    let original = long.original_max_position_embeddings;
    (config.max_position_embeddings > original).then(|| {
        format!(
            "rotary positions are scaled by longrope: a server whose longest sequence has at most \
             {original} tokens (max_model_len) uses the short factors, and any other the long ones for \
             all sequences, as in llama.cpp; transformers decides by each sequence's length"
        )
    })
}

fn read_config(directory: &Path) -> Result<ModelConfig, ModelError> {
    let config = ModelConfig::from_hf_json(&read_json(&directory.join("config.json"))?)?;
    let generation = directory.join("generation_config.json");
    if generation.exists() {
        config.with_generation_config(&read_json(&generation)?)
    } else {
        Ok(config)
    }
}

fn read_json(path: &Path) -> Result<Value, ModelError> {
    /// The index of a checkpoint of many files has some hundred KB.
    const MAX_BYTES: u64 = 64 << 20;
    let bytes = read_regular_file(path, MAX_BYTES).map_err(|source| ModelError::Read {
        path: path.to_owned(),
        source,
    })?;
    serde_json::from_slice(&bytes).map_err(|error| ModelError::Malformed {
        path: path.to_owned(),
        reason: format!("not valid JSON: {error}"),
    })
}
