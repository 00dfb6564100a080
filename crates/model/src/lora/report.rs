//! What an adapter is, as far as its files tell, whatever becomes of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use farthing_scheduler::AdapterId;
use serde_json::Value;

use super::{LoraAdapter, LoraBase, config::LoraConfig, files::AdapterFiles};
use crate::ModelError;

/// An adapter's files, described, and whether it would be served.
#[derive(Clone, Debug)]
pub struct AdapterReport {
    /// The hash of both files.
    pub id: AdapterId,
    /// `LoRA`, `rsLoRA`, `DoRA` or `rsDoRA`; PEFT's `peft_type` where the config is refused.
    pub kind: String,
    /// Ranks r of its factors.
    pub ranks: BTreeSet<usize>,
    /// Scales s of its modules, α/r or α/√r, ascending; empty where the config is refused.
    pub scales: Vec<f32>,
    /// The modules with factors by the last part of their name, and in how many places each is.
    pub targets: BTreeMap<String, usize>,
    /// Decoder layers with factors.
    pub layers: BTreeSet<usize>,
    /// Modules whose whole weight is in the file.
    pub saved_modules: BTreeSet<String>,
    /// Elements of all tensors.
    pub parameters: usize,
    /// Both files together.
    pub size_bytes: usize,
    /// What it says it was trained on.
    pub base_model: Option<String>,
    /// Why it is not served; none where it is.
    pub refusal: Option<String>,
}

impl AdapterReport {
    /// Describes the adapter in a directory. With a base it is loaded, so that the verdict is that
    /// of serving; without one, config and tensors are held against each other alone.
    ///
    /// # Errors
    /// There is no adapter, or its weights are no whole safetensors file.
    pub fn read(directory: &Path, base: Option<LoraBase<'_>>) -> Result<Self, ModelError> {
        let mut files = AdapterFiles::read(directory)?;
        let mut report = Self::describe(&files);
        let config = match LoraConfig::parse(files.config()) {
            Ok(config) => config,
            Err(reason) => {
                report.refusal = Some(reason);
                return Ok(report);
            }
        };
        report.kind = config.kind().to_owned();
        let checked = report.check(&mut files, &config);
        let checked = match base {
            Some(base) => LoraAdapter::load(directory, base).map(drop),
            None => checked,
        };
        report.refusal = checked.err().map(|error| match error {
            // The directory is known to who asked.
            ModelError::Adapter { reason, .. } => reason,
            other => other.to_string(),
        });
        Ok(report)
    }

    fn describe(files: &AdapterFiles) -> Self {
        let fields: Value = serde_json::from_slice(files.config()).unwrap_or_default();
        let text = |name: &str| Some(fields.get(name)?.as_str()?.to_owned());
        let mut report = Self {
            id: files.id(),
            kind: text("peft_type").unwrap_or_default(),
            ranks: BTreeSet::new(),
            scales: Vec::new(),
            targets: BTreeMap::new(),
            layers: BTreeSet::new(),
            saved_modules: BTreeSet::new(),
            parameters: 0,
            size_bytes: files.size_bytes(),
            base_model: text("base_model_name_or_path"),
            refusal: None,
        };
        for (name, tensor) in files.tensors() {
            report.parameters += tensor.shape.iter().product::<usize>();
            match part(name) {
                Some((module, Part::A)) => {
                    report.ranks.extend(tensor.shape.first());
                    let last = module.rsplit('.').next().unwrap_or(module);
                    *report.targets.entry(last.to_owned()).or_default() += 1;
                    let layer = module.strip_prefix("model.layers.");
                    let layer = layer.and_then(|rest| rest.split('.').next()?.parse().ok());
                    report.layers.extend::<Option<usize>>(layer);
                }
                Some((module, Part::Whole)) => {
                    report.saved_modules.insert(module.to_owned());
                }
                _ => {}
            }
        }
        report
    }

    /// Whether config and tensors fit each other.
    fn check(&mut self, files: &mut AdapterFiles, config: &LoraConfig) -> Result<(), ModelError> {
        for (name, tensor) in files.tensors().clone() {
            let Some((module, part)) = part(&name) else {
                continue;
            };
            let target = config.targets.contains(module);
            let is_target = target.map_err(|e| files.refused(e))?;
            if is_target || part == Part::Whole {
                files.take(&name, &tensor.shape)?;
            }
            if is_target && part == Part::A {
                let scale = config.scale(module).map_err(|e| files.refused(e))?;
                self.scales.push(scale.scaling);
                if tensor.shape.first() != Some(&scale.rank) {
                    return Err(files.refused(format!(
                        "tensor {name} has the shape {:?} where the config calls for rank {}",
                        tensor.shape, scale.rank
                    )));
                }
            }
        }
        self.scales.sort_by(f32::total_cmp);
        self.scales.dedup();
        files.expect_all_taken()
    }
}

/// What a tensor is to its module.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    /// The factor that shrinks.
    A,
    /// Whatever else stands beside it.
    BesideA,
    /// The module's own weight.
    Whole,
}

/// The module that a tensor belongs to, and what it is there; none where its name says neither.
fn part(name: &str) -> Option<(&str, Part)> {
    let endings = [
        (".lora_A.weight", Part::A),
        (".lora_embedding_A", Part::A),
        (".lora_B.weight", Part::BesideA),
        (".lora_B.bias", Part::BesideA),
        (".lora_embedding_B", Part::BesideA),
        (".lora_magnitude_vector", Part::BesideA),
        (".lora_magnitude_vector.weight", Part::BesideA),
        (".base_layer.weight", Part::Whole),
        (".weight", Part::Whole),
    ];
    let mut found = endings.iter();
    found.find_map(|(ending, part)| Some((name.strip_suffix(ending)?, *part)))
}
