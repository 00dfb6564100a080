//! Describes an adapter from its files, also one that is not supported.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use farthing_scheduler::AdapterId;
use serde_json::Value;

use super::{LoraAdapter, LoraBase, config::LoraConfig, files::AdapterFiles};
use crate::ModelError;

/// Description of an adapter, and whether it can be served.
#[derive(Clone, Debug)]
pub struct AdapterReport {
    /// The hash of both files.
    pub id: AdapterId,
    /// `LoRA`, `rsLoRA`, `DoRA` or `rsDoRA`; PEFT's `peft_type` if the config is not supported.
    pub kind: String,
    /// The ranks of its factors.
    pub ranks: BTreeSet<usize>,
    /// The scales of its modules (α/r or α/√r), ascending. Empty if the config is not supported.
    pub scales: Vec<f32>,
    /// Target modules by the last part of their name, with the number of places.
    pub targets: BTreeMap<String, usize>,
    /// Target modules whose A or B is all zeros, so that they change nothing.
    pub zero_targets: usize,
    /// Decoder layers with factors.
    pub layers: BTreeSet<usize>,
    /// Modules whose whole weight is in the file.
    pub saved_modules: BTreeSet<String>,
    /// Number of elements in all tensors.
    pub parameters: usize,
    /// Size of both files.
    pub size_bytes: usize,
    /// The base model named in the config.
    pub base_model: Option<String>,
    /// Why it cannot be served; `None` if it can.
    pub refusal: Option<String>,
}

impl AdapterReport {
    /// Reads the adapter in a directory. With a base model it is loaded completely, as for serving.
    /// Without one, only config and tensors are compared.
    ///
    /// # Errors
    /// There is no adapter, or its weights are not a complete safetensors file.
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
            // The caller knows the directory.
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
            zero_targets: 0,
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

    /// Checks that config and tensors match.
    fn check(&mut self, files: &mut AdapterFiles, config: &LoraConfig) -> Result<(), ModelError> {
        if files.tensors().is_empty() {
            return Err(files.refused("it has no tensors: it would change nothing".to_owned()));
        }
        files.skip_images();
        let mut zero_targets = BTreeSet::new();
        for (name, tensor) in files.tensors().clone() {
            let Some((module, part)) = part(&name) else {
                continue;
            };
            let trained_name = files.trained_name(module);
            let target = config.targets.contains(&trained_name);
            let is_target = target.map_err(|e| files.refused(e))?;
            if is_target || part == Part::Whole {
                let values = files.take(&name, &tensor.shape)?;
                if matches!(part, Part::A | Part::B) && values.iter().all(|it| *it == 0.0) {
                    zero_targets.insert(module.to_owned());
                }
            }
            if is_target && part == Part::A {
                let scale = config.scale(&trained_name).map_err(|e| files.refused(e))?;
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
        self.zero_targets = zero_targets.len();
        files.expect_all_taken()
    }
}

/// The role of a tensor within its module.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    /// The factor A.
    A,
    /// The factor B.
    B,
    /// Any other tensor of the adapter.
    Other,
    /// The module's whole weight.
    Whole,
}

/// The module of a tensor and the tensor's role; `None` if the name is unknown.
fn part(name: &str) -> Option<(&str, Part)> {
    let endings = [
        (".lora_A.weight", Part::A),
        (".lora_embedding_A", Part::A),
        (".lora_B.weight", Part::B),
        (".lora_B.bias", Part::Other),
        (".lora_embedding_B", Part::B),
        (".lora_magnitude_vector", Part::Other),
        (".lora_magnitude_vector.weight", Part::Other),
        (".base_layer.weight", Part::Whole),
        (".weight", Part::Whole),
    ];
    let mut found = endings.iter();
    found.find_map(|(ending, part)| Some((name.strip_suffix(ending)?, *part)))
}
