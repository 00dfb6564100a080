//! Adapters of random weights in PEFT's format, for tests that load, evict and replace adapters.

use std::{fs, path::Path};

use farthing_model::ModelConfig;

/// Describes an adapter of random weights.
#[derive(Clone, Copy)]
pub struct RandomAdapter {
    /// Rank of its factors, which is its alpha too.
    pub rank: usize,
    /// Adapters with different seeds have different weights.
    pub seed: u64,
    /// Largest absolute weight. At 1 the adapter outweighs the base model.
    pub scale: f32,
}

impl RandomAdapter {
    /// An adapter of rank 4.
    pub fn new(seed: u64) -> Self {
        Self {
            rank: 4,
            seed,
            scale: 0.5,
        }
    }

    /// Writes config and weights into a directory, and creates the directory if it is missing.
    pub fn write(self, directory: &Path, base: &ModelConfig) {
        fs::create_dir_all(directory).unwrap();
        let config = serde_json::json!({
            "peft_type": "LORA",
            "r": self.rank,
            "lora_alpha": self.rank,
            "target_modules": ["q_proj", "down_proj"],
        });
        fs::write(directory.join("adapter_config.json"), config.to_string()).unwrap();
        fs::write(
            directory.join("adapter_model.safetensors"),
            self.safetensors(base),
        )
        .unwrap();
    }

    /// The bytes of a safetensors file: length of the header, header, values.
    fn safetensors(self, base: &ModelConfig) -> Vec<u8> {
        let (hidden, q) = (base.hidden_size, base.num_attention_heads * base.head_dim);
        let mut random = self.seed;
        let mut header = serde_json::Map::new();
        let mut values: Vec<u8> = Vec::new();
        for layer in 0..base.num_hidden_layers {
            for (module, input, output) in [
                ("self_attn.q_proj", hidden, q),
                ("mlp.down_proj", base.intermediate_size, hidden),
            ] {
                for (factor, shape) in [("A", [self.rank, input]), ("B", [output, self.rank])] {
                    let start = values.len();
                    for _ in 0..shape[0] * shape[1] {
                        values.extend((self.scale * next(&mut random)).to_le_bytes());
                    }
                    header.insert(
                        format!(
                            "base_model.model.model.layers.{layer}.{module}.lora_{factor}.weight"
                        ),
                        serde_json::json!({
                            "dtype": "F32",
                            "shape": shape,
                            "data_offsets": [start, values.len()],
                        }),
                    );
                }
            }
        }
        let header = serde_json::Value::Object(header).to_string();
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.into_bytes());
        file.extend(values);
        file
    }
}

/// The next number of SplitMix64, scaled to -1..1.
fn next(state: &mut u64) -> f32 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (mixed >> 40) as f32 / (1 << 23) as f32 - 1.0
}
