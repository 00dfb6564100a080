//! Adapters of all linear layers with small random weights, in PEFT's format.

use std::{fs, io::Write as _};

use farthing_model::ModelConfig;
use farthing_ops::philox4x32;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// Writes `count` adapters of one rank, each into its own temporary directory.
pub(crate) fn make(model: &ModelConfig, rank: usize, count: usize) -> anyhow::Result<Vec<TempDir>> {
    (0..count)
        .map(|index| write(model, rank, index as u32))
        .collect()
}

fn write(model: &ModelConfig, rank: usize, seed: u32) -> anyhow::Result<TempDir> {
    let directory = tempfile::tempdir()?;
    let config = json!({
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": rank,
        "target_modules": "all-linear",
        // Adapters that are otherwise equal differ by their seed.
        "revision": seed.to_string(),
    });
    fs::write(
        directory.path().join("adapter_config.json"),
        config.to_string(),
    )?;

    let mut header = Map::new();
    let mut elements = 0;
    let linears = model
        .tensor_shapes()
        .filter(|(name, shape)| name.contains(".layers.") && shape.len() == 2);
    for (name, shape) in linears {
        let module = name.trim_end_matches(".weight");
        for (factor, shape) in [("A", [rank, shape[1]]), ("B", [shape[0], rank])] {
            let end = elements + shape[0] * shape[1];
            header.insert(
                format!("base_model.model.{module}.lora_{factor}.weight"),
                json!({"dtype": "F32", "shape": shape, "data_offsets": [4 * elements, 4 * end]}),
            );
            elements = end;
        }
    }
    let header = Value::Object(header).to_string();
    let file = fs::File::create(directory.path().join("adapter_model.safetensors"))?;
    let mut file = std::io::BufWriter::new(file);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    for element in 0..elements.div_ceil(4) {
        let words = philox4x32([element as u32, 0, 0, 0], [seed, 1]);
        for word in &words[..4.min(elements - 4 * element)] {
            let uniform = *word as f32 / u32::MAX as f32 - 0.5;
            file.write_all(&(0.02 * uniform).to_le_bytes())?;
        }
    }
    file.flush()?;
    Ok(directory)
}
