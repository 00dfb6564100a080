//! Weights in a GGUF file, dequantised while reading.

use std::{
    borrow::Cow,
    collections::HashMap,
    io::{BufReader, Read},
    ops::Range,
    panic::{self, AssertUnwindSafe},
    path::Path,
};

use candle_core::quantized::{
    GgmlDType,
    gguf_file::{Content, TensorInfo},
};

use super::{GgufTokenizer, float_type::FloatType, weight_file::WeightFile};
use crate::gguf_metadata::GgufMetadata;
use crate::{Architecture, Biases, ModelConfig, ModelError, RopeScaling, config::GgufTensorFacts};

/// Small enough to stay in the processor's cache between reading and dequantising.
const PIECE_BYTES: usize = 128 << 10;

/// A GGUF file and the positions of its tensors.
#[derive(Debug)]
pub(super) struct GgufFile {
    file: WeightFile,
    tensors: HashMap<String, StoredTensor>,
    head_dim: usize,
    tokenizer: GgufTokenizer,
}

#[derive(Debug)]
struct StoredTensor {
    offset: u64,
    dtype: GgmlDType,
    rows_are_interleaved: bool,
}

impl GgufFile {
    /// Opens the file, reads its configuration and checks every tensor against it.
    pub(super) fn open(path: &Path) -> Result<(ModelConfig, Self), ModelError> {
        let file = WeightFile::open(path)?;
        let content = read_header(&file)?;
        let metadata = GgufMetadata::new(content.metadata);
        let directory = Directory {
            file: &file,
            infos: content.tensor_infos,
            data_start: content.tensor_data_offset,
        };
        let config = ModelConfig::from_gguf(&metadata, directory.facts()?)?;
        let tensors = directory.locate(&config)?;
        let tokenizer = GgufTokenizer::from_metadata(&metadata)?;
        let head_dim = config.head_dim;
        Ok((
            config,
            Self {
                file,
                tensors,
                head_dim,
                tokenizer,
            },
        ))
    }

    pub(super) fn tokenizer(&self) -> &GgufTokenizer {
        &self.tokenizer
    }

    pub(super) fn read_rows(
        &self,
        name: &str,
        rows: Range<usize>,
        width: usize,
        out: &mut Vec<f32>,
    ) -> Result<(), ModelError> {
        let Some(tensor) = self.tensors.get(name) else {
            return Err(ModelError::UnknownTensor(name.to_owned()));
        };
        // A bias is one row. Its elements are interleaved as the rows of its weight are.
        let (rows, width) = match tensor.rows_are_interleaved && name.ends_with(".bias") {
            true => (0..width, 1),
            false => (rows, width),
        };
        let row_bytes = width / tensor.dtype.block_size() * tensor.dtype.type_size();
        if !tensor.rows_are_interleaved {
            let start = tensor.offset + (rows.start * row_bytes) as u64;
            let end = tensor.offset + (rows.end * row_bytes) as u64;
            let piece_bytes = (PIECE_BYTES / row_bytes).max(1) * row_bytes;
            return self.file.read_pieces(start..end, piece_bytes, |bytes| {
                append(tensor.dtype, bytes, out)
            });
        }
        let mut buffer = Vec::new();
        for run in interleaved_runs(rows, self.head_dim) {
            // Between two wanted rows lies a row of the head's other half: read both and keep one.
            let span_rows = 2 * run.len - 1;
            buffer.resize(span_rows * row_bytes, 0);
            let start = tensor.offset + (run.first_stored_row * row_bytes) as u64;
            self.file.read_at(&mut buffer, start)?;
            for row in 1..run.len {
                let stored = 2 * row * row_bytes;
                buffer.copy_within(stored..stored + row_bytes, row * row_bytes);
            }
            append(tensor.dtype, &buffer[..run.len * row_bytes], out)?;
        }
        Ok(())
    }
}

fn read_header(file: &WeightFile) -> Result<Content, ModelError> {
    /// Limit on the header. In memory it takes up to 32 times as much. Tokenizers of 256,000 tokens
    /// have about 15 MB.
    const MAX_BYTES: u64 = 64 << 20;
    let mut reader = BufReader::with_capacity(1 << 20, file.file().take(MAX_BYTES));
    // candle divides by the alignment given in the file, and panics if it is zero.
    let content = panic::catch_unwind(AssertUnwindSafe(|| Content::read(&mut reader)));
    let reason = match content {
        Ok(Ok(content)) => return Ok(content),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "its header is damaged".to_owned(),
    };
    Err(file.malformed(format!("is not a readable GGUF file: {reason}")))
}

/// Rows of one half of one head. They are every second row in the file.
#[derive(Debug, PartialEq)]
struct InterleavedRun {
    first_stored_row: usize,
    len: usize,
}

/// Where the rows of a query or key projection lie.
///
/// Hugging Face rotates a head's dimension `j` with dimension `j + head_dim/2`, ggml `2j` with
/// `2j + 1`. llama.cpp's converter therefore reorders the rows of each head (its `permute`:
/// `reshape(heads, 2, head_dim/2, columns).swapaxes(1, 2)`), so that row `half·head_dim/2 + j` of
/// a head is stored as its row `2j + half`.
fn interleaved_runs(rows: Range<usize>, head_dim: usize) -> impl Iterator<Item = InterleavedRun> {
    let half_dim = head_dim / 2;
    let mut next = rows.start;
    std::iter::from_fn(move || {
        if next == rows.end {
            return None;
        }
        let (head, in_head) = (next / head_dim, next % head_dim);
        let (half, pair) = (in_head / half_dim, in_head % half_dim);
        let len = (half_dim - pair).min(rows.end - next);
        next += len;
        Some(InterleavedRun {
            first_stored_row: head * head_dim + 2 * pair + half,
            len,
        })
    })
}

/// Dequantises whole rows.
fn append(dtype: GgmlDType, bytes: &[u8], out: &mut Vec<f32>) -> Result<(), ModelError> {
    match dtype {
        GgmlDType::F32 => FloatType::F32.append(bytes, out),
        GgmlDType::F16 => FloatType::F16.append(bytes, out),
        GgmlDType::BF16 => FloatType::Bf16.append(bytes, out),
        _ => {
            let blocks = DEQUANTIZED_ELEMENTS / dtype.block_size();
            for bytes in bytes.chunks(blocks * dtype.type_size()) {
                let elements = bytes.len() / dtype.type_size() * dtype.block_size();
                let storage = dtype.from_data(Cow::Borrowed(bytes)).dequantize(elements)?;
                out.extend_from_slice(storage.as_slice::<f32>()?);
            }
        }
    }
    Ok(())
}

/// Number of elements to dequantise at a time. candle allocates for each call; below 128 KiB the
/// allocator reuses memory, and larger pieces come from the operating system each time.
const DEQUANTIZED_ELEMENTS: usize = 16 * 1024;

/// The tensors listed in the file's header.
struct Directory<'a> {
    file: &'a WeightFile,
    infos: HashMap<String, TensorInfo>,
    data_start: u64,
}

const ROPE_FREQS: &str = "rope_freqs.weight";
const LONG_ROPE: [&str; 2] = ["rope_factors_short.weight", "rope_factors_long.weight"];

impl Directory<'_> {
    fn facts(&self) -> Result<GgufTensorFacts, ModelError> {
        let embedding = self.info("model.embed_tokens.weight", "token_embd.weight")?;
        let &[vocab_size, _] = embedding.shape.dims() else {
            return Err(self.file.malformed("token_embd.weight is not a matrix"));
        };
        let [short, long] = LONG_ROPE;
        let has = |name: &str| self.infos.contains_key(name);
        Ok(GgufTensorFacts {
            vocab_size,
            has_output: has("output.weight"),
            biases: Biases {
                qkv: has("blk.0.attn_q.bias") || has("blk.0.attn_qkv.bias"),
                o: has("blk.0.attn_output.bias"),
                mlp: has("blk.0.ffn_down.bias"),
            },
            rope_divisors: self.small(ROPE_FREQS)?,
            long_rope_factors: match (self.small(short)?, self.small(long)?) {
                (Some(short), Some(long)) => Some([short, long]),
                _ => None,
            },
        })
    }

    /// All values of a tensor, if there is one of this name.
    fn small(&self, name: &str) -> Result<Option<Vec<f32>>, ModelError> {
        let Some(info) = self.infos.get(name) else {
            return Ok(None);
        };
        let size = self.checked_size(name, info)?;
        let start = self.data_start + info.offset;
        let mut values = Vec::new();
        self.file
            .read_pieces(start..start + size, PIECE_BYTES, |bytes| {
                append(info.ggml_dtype, bytes, &mut values)
            })?;
        Ok(Some(values))
    }

    /// Finds every tensor of the model, and rejects others.
    fn locate(mut self, config: &ModelConfig) -> Result<HashMap<String, StoredTensor>, ModelError> {
        let mut tensors = HashMap::new();
        for (name, expected) in config.tensor_shapes() {
            let stored_name = gguf_name(&name);
            let info = self.info(&name, &stored_name)?;
            if info.shape.dims() != expected {
                return Err(ModelError::Shape {
                    path: self.file.path().to_owned(),
                    tensor: format!("{stored_name} ({name})"),
                    expected,
                    found: info.shape.dims().to_vec(),
                });
            }
            self.checked_size(&stored_name, info)?;
            let is_rotated = [".q_proj.", ".k_proj."].iter().any(|it| name.contains(it));
            let tensor = StoredTensor {
                offset: self.data_start + info.offset,
                dtype: info.ggml_dtype,
                rows_are_interleaved: is_rotated && is_interleaved(config.architecture),
            };
            self.infos.remove(&stored_name);
            tensors.insert(name, tensor);
        }
        match config.rope.scaling {
            RopeScaling::Divisors(_) => drop(self.infos.remove(ROPE_FREQS)),
            RopeScaling::LongRope(_) => LONG_ROPE.iter().for_each(|name| {
                self.infos.remove(*name);
            }),
            _ => {}
        }
        // The smallest name, so that the message is the same each time.
        match self.infos.keys().min() {
            None => Ok(tensors),
            Some(name) => Err(ModelError::Unsupported(format!(
                "tensor `{name}`, which has no place in a {} model; ignoring it would change the \
                 answers",
                config.architecture
            ))),
        }
    }

    fn info(&self, name: &str, stored_name: &str) -> Result<&TensorInfo, ModelError> {
        self.infos
            .get(stored_name)
            .ok_or_else(|| ModelError::MissingTensor {
                path: self.file.path().to_owned(),
                tensor: format!("{stored_name} ({name})"),
            })
    }

    /// The size of a tensor whose type can be read and that lies within the file.
    fn checked_size(&self, name: &str, info: &TensorInfo) -> Result<u64, ModelError> {
        let dtype = info.ggml_dtype;
        // llama.cpp uses these two types for activations; candle cannot dequantise the first.
        if matches!(dtype, GgmlDType::Q8_1 | GgmlDType::Q8K) {
            return Err(ModelError::Unsupported(format!(
                "tensor `{name}` is stored as {dtype:?}, which is not a type for weights"
            )));
        }
        let width = info.shape.dims().last().copied().unwrap_or(1);
        if !width.is_multiple_of(dtype.block_size()) {
            return Err(self.file.malformed(format!(
                "tensor `{name}` has rows of {width} elements, which {dtype:?} cannot store"
            )));
        }
        let elements = info
            .shape
            .dims()
            .iter()
            .try_fold(1_u64, |n, &dim| n.checked_mul(dim as u64));
        let size = elements
            .map(|elements| elements / dtype.block_size() as u64)
            .and_then(|blocks| blocks.checked_mul(dtype.type_size() as u64));
        let end = size
            .and_then(|size| size.checked_add(info.offset))
            .and_then(|end| end.checked_add(self.data_start));
        match (size, end) {
            (Some(size), Some(end)) if end <= self.file.size_bytes() => Ok(size),
            _ => Err(self.file.malformed(format!(
                "ends before its tensor `{name}` does: the download is incomplete, fetch it again"
            ))),
        }
    }
}

/// Whether llama.cpp's converter reorders the rows of queries and keys. It does so for the families
/// that its own `LlamaModel` class converts.
fn is_interleaved(architecture: Architecture) -> bool {
    matches!(
        architecture,
        Architecture::Llama
            | Architecture::Ministral3
            | Architecture::SmolLm3
            | Architecture::Granite
    )
}

/// The GGUF name of a tensor.
fn gguf_name(name: &str) -> String {
    let Some(rest) = name.strip_prefix("model.layers.") else {
        return match name {
            "model.embed_tokens.weight" => "token_embd.weight",
            "model.norm.weight" => "output_norm.weight",
            "lm_head.weight" => "output.weight",
            other => other,
        }
        .to_owned();
    };
    let (layer, part) = rest.split_once('.').unwrap_or((rest, ""));
    let (module, kind) = part.rsplit_once('.').unwrap_or((part, ""));
    let module = match module {
        "input_layernorm" => "attn_norm",
        "self_attn.qkv_proj" => "attn_qkv",
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "self_attn.q_norm" => "attn_q_norm",
        "self_attn.k_norm" => "attn_k_norm",
        "self_attn.o_proj" => "attn_output",
        "post_attention_layernorm" => "ffn_norm",
        "mlp.gate_proj" => "ffn_gate",
        // Phi-3's gates and ups.
        "mlp.gate_up_proj" | "mlp.up_proj" => "ffn_up",
        "mlp.down_proj" => "ffn_down",
        other => other,
    };
    format!("blk.{layer}.{module}.{kind}")
}
