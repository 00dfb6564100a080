//! The tested device and its reference.

use std::ops::Range;

use candle_core::{DType, Device, Tensor};
use farthing_ops::{
    KvCacheLayer, LORA_TILE_WORDS, LinearWeight, LinearWeightBuilder, LoraRows, LoraScratch,
    LoraStackShape, SimdLevel, lora_tiles, max_lora_tiles, with_simd_level,
};
use half::bf16;

use farthing_model::{BLOCK_SIZE, ComputeType, DeviceKind, ModelError, adapter_factor};

/// Where a check computes.
#[derive(Clone)]
pub(super) struct Side {
    pub device: Device,
    pub kind: DeviceKind,
    level: SimdLevel,
}

impl Side {
    /// The tested device.
    pub(super) fn tested(kind: DeviceKind) -> Result<Self, ModelError> {
        Ok(Self {
            device: kind.open()?,
            kind,
            level: SimdLevel::current(),
        })
    }

    /// The reference: the CPU without vector instructions.
    pub(super) fn twin() -> Self {
        Self {
            device: Device::Cpu,
            kind: DeviceKind::Cpu,
            level: SimdLevel::Portable,
        }
    }

    /// Calls `f` with this side's level of instructions.
    pub(super) fn compute<R>(&self, f: impl FnOnce() -> R) -> R {
        with_simd_level(self.level, f)
    }

    /// Activations in the device's type. Both sides get values that are rounded to bf16.
    pub(super) fn activations(&self, values: &[f32], columns: usize) -> Result<Tensor, ModelError> {
        let rounded: Vec<f32> = values.iter().map(|x| bf16::from_f32(*x).to_f32()).collect();
        let rows = rounded.len() / columns.max(1);
        let tensor = Tensor::from_vec(rounded, (rows, columns), &Device::Cpu)?;
        let dtype = self.kind.activation_dtype(ComputeType::Bf16);
        Ok(tensor.to_dtype(dtype)?.to_device(&self.device)?)
    }

    /// An output buffer filled with NaN, so that missing writes are noticed.
    pub(super) fn room(&self, rows: usize, columns: usize) -> Result<Tensor, ModelError> {
        self.activations(&vec![f32::NAN; rows * columns], columns)
    }

    pub(super) fn vector(&self, values: &[f32]) -> Result<Tensor, ModelError> {
        Ok(Tensor::from_slice(values, values.len(), &self.device)?)
    }

    pub(super) fn integers(&self, values: &[u32]) -> Result<Tensor, ModelError> {
        Ok(Tensor::from_slice(values, values.len(), &self.device)?)
    }

    pub(super) fn weight(
        &self,
        values: &[f32],
        in_features: usize,
    ) -> Result<LinearWeight, ModelError> {
        let out_features = values.len() / in_features;
        let mut builder =
            LinearWeightBuilder::new(out_features, in_features, DType::BF16, &self.device)?;
        builder.push_rows(values)?;
        Ok(builder.finish()?)
    }

    /// A factor of an adapter, for a slot of a GPU or for the CPU.
    pub(super) fn adapter_weight(
        &self,
        values: &[f32],
        in_features: usize,
    ) -> Result<LinearWeight, ModelError> {
        let out_features = values.len() / in_features;
        adapter_factor(values, out_features, ComputeType::Bf16, self.kind)
    }

    /// Which of `tokens` have which adapter, its slot and where they stand.
    pub(super) fn lora_rows(
        &self,
        shapes: &[LoraStackShape],
        adapters: impl IntoIterator<Item = (usize, Range<usize>)> + Clone,
        tokens: usize,
    ) -> Result<LoraRows, ModelError> {
        let tiles = max_lora_tiles(tokens, adapters.clone().into_iter().count());
        let mut words = vec![0; tiles * LORA_TILE_WORDS];
        lora_tiles(adapters, &mut words);
        let dtype = self.kind.activation_dtype(ComputeType::Bf16);
        Ok(LoraRows {
            tiles: self.integers(&words)?.reshape((tiles, LORA_TILE_WORDS))?,
            scratch: LoraScratch::new(shapes, tiles, dtype, &self.device)?,
        })
    }

    pub(super) fn cache(
        &self,
        blocks: usize,
        kv_heads: usize,
        head_dim: usize,
    ) -> Result<KvCacheLayer, ModelError> {
        Ok(KvCacheLayer::zeros(
            blocks,
            BLOCK_SIZE,
            kv_heads,
            head_dim,
            DType::BF16,
            &self.device,
        )?)
    }
}

/// All elements of a tensor as f32.
pub(super) fn values(tensor: &Tensor) -> Result<Vec<f32>, ModelError> {
    Ok(tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}

/// Reproducible pseudorandom numbers: SplitMix64 (Steele, Lea and Flood, 2014).
pub(super) struct Random {
    state: u64,
}

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// Uniform over -1..1.
    pub(super) fn values(&mut self, len: usize) -> Vec<f32> {
        (0..len)
            .map(|_| (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0)
            .collect()
    }

    /// `0..len` in random order (Fisher and Yates).
    pub(super) fn shuffled(&mut self, len: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..len as u32).collect();
        for i in (1..len).rev() {
            let other = self.below(i + 1);
            order.swap(i, other);
        }
        order
    }
}
